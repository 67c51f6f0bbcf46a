//! Our own signatures verify; tampered ones do not.

use super::sign::Signer;
use super::*;

const SIGNER: Signer<'_> = Signer {
    access_key_id: "AKIDEXAMPLE",
    secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    session_token: None,
    region: "us-east-1",
    service: "service",
};
/// 2015-08-30T12:36:00Z, the moment of AWS's published test suite.
const NOW: Timestamp = Timestamp(1_440_938_160_000);

fn request(uri: &str, body: &[u8]) -> http::Request<Vec<u8>> {
    http::Request::builder().uri(uri).header("host", "example.amazonaws.com").body(body.to_vec()).unwrap()
}

fn check(request: &http::Request<Vec<u8>>, secret: &str, now: Timestamp) -> Result<(), Fault> {
    let uri = request.uri();
    let parts = Parts {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: request.headers(),
    };
    let signed = Signed::parse(&parts)?.expect("a signature");
    signed.verify(&parts, request.body(), secret, now)
}

#[test]
fn the_vanilla_request_of_aws_s_test_suite() {
    let mut request = request("/", b"");
    sign(&SIGNER, &mut request, NOW);
    let header = request.headers()["authorization"].to_str().unwrap();
    assert_eq!(
        header,
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, \
         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
}

#[test]
fn what_was_signed_verifies_and_nothing_else() {
    let mut signed = request("/a%20b/?z=1&a=x%2Fy&a=b", b"{}");
    sign(&SIGNER, &mut signed, NOW);
    assert_eq!(check(&signed, SIGNER.secret, NOW), Ok(()));
    assert!(check(&signed, "another secret", NOW).is_err());
    let mut other_body = signed.clone();
    *other_body.body_mut() = b"{ }".to_vec();
    assert!(check(&other_body, SIGNER.secret, NOW).is_err());
    let mut other_host = signed.clone();
    other_host.headers_mut().insert("host", "evil.example".parse().unwrap());
    assert!(check(&other_host, SIGNER.secret, NOW).is_err());
    let mut other_path = signed.clone();
    *other_path.uri_mut() = "/b/?z=1&a=x%2Fy&a=b".parse().unwrap();
    assert!(check(&other_path, SIGNER.secret, NOW).is_err());
}

#[test]
fn five_minutes_of_skew_and_no_more() {
    let mut signed = request("/", b"");
    sign(&SIGNER, &mut signed, NOW);
    for (offset_seconds, is_good) in [(-301, false), (-299, true), (299, true), (301, false)] {
        let now = Timestamp(NOW.millis() + offset_seconds * 1000);
        assert_eq!(check(&signed, SIGNER.secret, now).is_ok(), is_good, "{offset_seconds} s");
    }
}

#[test]
fn odd_headers_are_refused_and_nothing_panics() {
    for header in [
        "",
        "Basic x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=, Signature=zz",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00",
    ] {
        let mut request = request("/", b"");
        request.headers_mut().insert("authorization", header.parse().unwrap());
        request.headers_mut().insert("x-amz-date", "2015".parse().unwrap());
        assert!(check(&request, "s", NOW).is_err(), "{header}");
    }
}
