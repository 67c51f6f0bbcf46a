//! Bytes that boto3 and both AWS CLIs sent: each is routed, its signature verified, and decoded to what was asked for.
//!
//! Recorded by `crates/wire/tests/golden/record.py`; see `SOURCES.md` there.

use api::{ecr, ecs, logs, sts};
use std::collections::BTreeMap;
use wire::route::{Route, decode_request, route};
use wire::sigv4::{Parts, Signed};
use wire::{Service, Timestamp};

static SERVICES: &[&Service] = &[&ecs::SERVICE, &ecr::SERVICE, &logs::SERVICE, &sts::SERVICE];
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

struct Recorded {
    headers: http::HeaderMap,
    body: Vec<u8>,
}

fn parse(bytes: &[u8]) -> Recorded {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("POST / HTTP/1.1"));
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
        headers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Recorded { headers, body: bytes[end + 4..].to_vec() }
}

impl Recorded {
    fn parts(&self) -> Parts<'_> {
        Parts { method: "POST", path: "/", query: "", headers: &self.headers }
    }

    fn verify(&self, service: &Service) {
        let date = self.headers["x-amz-date"].to_str().unwrap();
        let part = |from: usize, to: usize| date[from..to].parse::<i64>().unwrap();
        let now = Timestamp::from_calendar(stdx::time::Calendar {
            year: part(0, 4),
            month: part(4, 6),
            day: part(6, 8),
            hour: part(9, 11),
            minute: part(11, 13),
            second: part(13, 15),
            millisecond: 0,
        });
        let signed = Signed::parse(&self.parts()).unwrap().unwrap();
        assert_eq!(signed.service, service.signing_name);
        assert_eq!(
            (signed.access_key_id.as_str(), signed.region.as_str()),
            ("AKIAIOSFODNN7EXAMPLE", "us-east-1")
        );
        assert_eq!(signed.verify(&self.parts(), &self.body, SECRET, now), Ok(()));
    }

    /// `Debug` leaves out absent members, so that the text is short and complete.
    fn decode(&self, route: &Route) -> String {
        macro_rules! decode {
            ($($api:ident),*) => {
                match route.service.name {
                    $(stringify!($api) => {
                        let read = |reader: &mut dyn wire::Reader| $api::Request::read(route.operation, reader);
                        format!("{:#?}", decode_request(route, &self.body, read).unwrap())
                    })*
                    other => panic!("{other}"),
                }
            };
        }
        decode!(ecs, ecr, logs, sts)
    }
}

#[test]
fn recorded_requests_are_understood() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let recorded = parse(&std::fs::read(&path).unwrap());
        let route = route(SERVICES, &recorded.parts(), &recorded.body).unwrap();
        recorded.verify(route.service);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        seen.insert(name, recorded.decode(&route));
    }
    assert_eq!(seen.len(), 24);
    let text: String = seen.iter().map(|(name, request)| format!("## {name}\n{request}\n\n")).collect();
    insta::assert_snapshot!(text);
}

/// `Debug` hides environments, so this one is looked at by itself.
#[test]
fn text_outside_ascii_arrives() {
    let bytes = include_bytes!("../golden/boto3-ecs-register-task-definition.http");
    let recorded = parse(bytes);
    let request: ecs::RegisterTaskDefinitionRequest = wire::json::from_slice(&recorded.body).unwrap();
    let environment = request.container_definitions[0].environment.as_ref().unwrap();
    assert_eq!(environment[0].value.as_deref(), Some("Grüße, \"Welt\" \\ 😀\n"));
}
