//! Signatures that botocore made, recorded by `golden/record.py`, and what becomes of them when a bit is changed.

use wire::sigv4::{Parts, Signed};
use wire::{Fault, Timestamp};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+token==";

/// A request's bytes, taken apart.
#[derive(Clone)]
struct Recorded {
    method: String,
    target: String,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

fn recorded() -> Vec<(String, Recorded)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/sigv4");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.display().to_string(), parse(&std::fs::read(&path).unwrap()))).collect()
}

fn parse(bytes: &[u8]) -> Recorded {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Recorded {
        method: first.next().unwrap().to_owned(),
        target: first.next().unwrap().to_owned(),
        headers,
        body: bytes[end + 4..].to_vec(),
    }
}

impl Recorded {
    fn parts(&self) -> Parts<'_> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        Parts { method: &self.method, path, query, headers: &self.headers }
    }

    /// The moment at which it was signed.
    fn time(&self) -> Timestamp {
        let text = match self.headers.get("x-amz-date") {
            Some(value) => value.to_str().unwrap(),
            None => self.target.split_once("X-Amz-Date=").unwrap().1.split('&').next().unwrap(),
        };
        let part = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
        Timestamp::from_calendar(stdx::time::Calendar {
            year: part(0, 4),
            month: part(4, 6),
            day: part(6, 8),
            hour: part(9, 11),
            minute: part(11, 13),
            second: part(13, 15),
            millisecond: 0,
        })
    }

    fn verify(&self, seconds_later: i64) -> Result<(), Fault> {
        let parts = self.parts();
        let signed = Signed::parse(&parts)?.ok_or_else(Fault::missing_authentication_token)?;
        signed.verify_token(signed.session_token.as_ref().map(|_| TOKEN))?;
        signed.verify(&parts, &self.body, SECRET, Timestamp(self.time().millis() + seconds_later * 1000))
    }

    fn is_presigned(&self) -> bool {
        self.target.contains("X-Amz-Signature=")
    }
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
     Access Key and signing method. Consult the service documentation for details.";

#[test]
fn botocore_s_signatures_verify() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 14);
    for (name, request) in recorded {
        assert_eq!(request.verify(0), Ok(()), "{name}");
        assert_eq!(request.verify(299), Ok(()), "{name}");
    }
}

#[test]
fn signatures_expire() {
    for (name, request) in recorded() {
        let life = if request.is_presigned() { 600 } else { 300 };
        assert_eq!(request.verify(life), Ok(()), "{name}");
        let fault = request.verify(life + 1).unwrap_err();
        assert_eq!(fault.code, "InvalidSignatureException", "{name}");
        assert!(fault.message.starts_with("Signature expired: 2026"), "{name}: {fault}");
        assert!(fault.message.ends_with(&format!("- {} min.)", life / 60)), "{name}: {fault}");
        let fault = request.verify(-301).unwrap_err();
        assert!(fault.message.starts_with("Signature not yet current: 2026"), "{name}: {fault}");
    }
}

#[test]
fn every_changed_part_breaks_the_signature() {
    for (name, request) in recorded() {
        let mut changes = Vec::new();
        let mut change = |what: &'static str, f: &dyn Fn(&mut Recorded)| {
            let mut changed = request.clone();
            f(&mut changed);
            changes.push((what, changed));
        };
        change("method", &|request| request.method = "PUT".to_owned());
        change("path", &|request| request.target = request.target.replacen('/', "/x", 1));
        change("query", &|request| {
            request.target.push(if request.target.contains('?') { '&' } else { '?' });
            request.target.push_str("extra=1");
        });
        change("body", &|request| request.body.push(b' '));
        change("signed header", &|request| {
            request.headers.insert("host", "ecs.test:8081".parse().unwrap());
        });
        change("repeated header", &|request| {
            request.headers.append("host", "ecs.test:8080".parse().unwrap());
        });
        for (what, changed) in changes {
            let fault = changed.verify(0).unwrap_err();
            assert_eq!(
                (fault.code, fault.message.as_str()),
                ("InvalidSignatureException", MISMATCH),
                "{name}: {what}"
            );
        }
    }
}

#[test]
fn unsigned_and_half_signed_requests_are_refused() {
    let (_, request) = recorded().into_iter().find(|(name, _)| name.ends_with("header-token.http")).unwrap();
    let authorization = request.headers["authorization"].to_str().unwrap().to_owned();
    let with = |f: &dyn Fn(&str) -> String| {
        let mut changed = request.clone();
        changed.headers.insert("authorization", f(&authorization).parse().unwrap());
        changed.verify(0).unwrap_err()
    };
    let without = |name: &str| {
        let mut changed = request.clone();
        changed.headers.remove(name);
        changed.verify(0).unwrap_err()
    };
    assert_eq!(without("authorization"), Fault::missing_authentication_token());
    assert_eq!(without("x-amz-date").code, "IncompleteSignatureException");
    assert_eq!(without("x-amz-security-token").message, MISMATCH);
    assert_eq!(
        with(&|text| text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")).code,
        "IncompleteSignatureException"
    );
    assert_eq!(with(&|text| text.replace("Signature=", "Signatur=")).code, "IncompleteSignatureException");
    assert_eq!(with(&|text| text.replace("/aws4_request", "")).code, "IncompleteSignatureException");
    assert_eq!(
        with(&|text| text.replace("SignedHeaders=host;", "SignedHeaders=")).code,
        "InvalidSignatureException"
    );
    let scope = with(&|text| text.replace("EXAMPLE/2026", "EXAMPLE/2025"));
    assert!(scope.message.starts_with("Date in Credential scope does not match YYYYMMDD"), "{scope}");
    let mut target = request.clone();
    target.headers.insert("x-amz-target", "A.B".parse().unwrap());
    assert_eq!(
        target.verify(0).unwrap_err().message,
        "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."
    );
}

#[test]
fn tokens_must_be_the_issued_ones() {
    for (name, request) in recorded() {
        let signed = Signed::parse(&request.parts()).unwrap().unwrap();
        let has_token = signed.session_token.is_some();
        assert_eq!(signed.verify_token(Some(TOKEN)).is_ok(), has_token, "{name}");
        assert_eq!(signed.verify_token(None).is_ok(), !has_token, "{name}");
        assert_eq!(signed.verify_token(Some("other")), Err(Fault::unrecognized_client()), "{name}");
        assert!(!format!("{signed:?}").contains("token=="), "{name}");
    }
}
