//! Replies in the envelopes of the protocols: results, modelled exceptions and faults.

use crate::cbor::CborWriter;
use crate::json::JsonWriter;
use crate::route::Route;
use crate::shape::{self, Member, Structure, Type};
use crate::xml::XmlWriter;
use crate::{Encode, Exception, Fault, Protocol, Service, Writer};

/// A reply, ready to be sent; the length is the sender's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Encoded {
    fn new(protocol: Protocol, status: u16, request_id: &str, body: Vec<u8>) -> Self {
        let mut headers = vec![("x-amzn-requestid", request_id.to_owned())];
        if protocol == Protocol::Cbor {
            headers.push(("smithy-protocol", "rpc-v2-cbor".to_owned()));
        }
        if !body.is_empty() {
            headers.push(("content-type", content_type(protocol).to_owned()));
        }
        Self { status, headers, body }
    }
}

fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Json10 => "application/x-amz-json-1.0",
        Protocol::Json11 => "application/x-amz-json-1.1",
        Protocol::Query => "text/xml",
        Protocol::Ec2 => "text/xml;charset=UTF-8",
        Protocol::Cbor => "application/cbor",
    }
}

/// A successful reply. `reply` is not looked at when the model gives the operation no output.
pub fn encode_reply(route: &Route, request_id: &str, reply: &dyn Encode) -> Encoded {
    let has_output = route.model().output.is_some();
    let body = match route.protocol {
        Protocol::Json10 | Protocol::Json11 | Protocol::Cbor if !has_output => Vec::new(),
        Protocol::Json10 | Protocol::Json11 => crate::json::to_vec(reply),
        Protocol::Cbor => crate::cbor::to_vec(reply),
        Protocol::Query => query_result(route, request_id, reply),
        Protocol::Ec2 => ec2_result(route, request_id, reply),
    };
    Encoded::new(route.protocol, 200, request_id, body)
}

/// `<OperationResponse><OperationResult>…</OperationResult><ResponseMetadata>…`.
fn query_result(route: &Route, request_id: &str, reply: &dyn Encode) -> Vec<u8> {
    let operation = route.model();
    let outer = format!("{}Response", operation.name);
    let mut writer = XmlWriter::new();
    writer.open_with_namespace(&outer, route.service.xml_namespace);
    if operation.output.is_some() {
        let wrapper =
            operation.result_wrapper.map_or_else(|| format!("{}Result", operation.name), str::to_owned);
        writer.open(&wrapper);
        reply.write(&mut writer, &shape::DOCUMENT);
        writer.close(&wrapper);
    }
    writer.open("ResponseMetadata");
    writer.element("RequestId", request_id);
    writer.close("ResponseMetadata");
    writer.close(&outer);
    writer.finish().into_bytes()
}

/// `<OperationResponse><requestId>…</requestId>…`.
fn ec2_result(route: &Route, request_id: &str, reply: &dyn Encode) -> Vec<u8> {
    let operation = route.model();
    let outer = format!("{}Response", operation.name);
    let mut writer = XmlWriter::new();
    writer.open_with_namespace(&outer, route.service.xml_namespace);
    writer.element("requestId", request_id);
    if operation.output.is_some() {
        reply.write(&mut writer, &shape::DOCUMENT);
    }
    writer.close(&outer);
    writer.finish().into_bytes()
}

/// An exception of the service's model.
pub fn encode_exception(route: &Route, request_id: &str, exception: &dyn Exception) -> Encoded {
    let schema = exception.schema();
    let (code, status) = schema.error.map_or((schema.name, 400), |traits| (traits.code, traits.status));
    let error = ErrorReply {
        // The query protocols have codes of their own; the others go by the shape's name.
        code: if is_xml(route.protocol) { code } else { schema.name },
        status,
        members: exception,
        protocol: route.protocol,
        namespace: route.service.xml_namespace,
        request_id,
    };
    let mut encoded = error.encode();
    if route.is_query_mode {
        encoded.headers.push(("x-amzn-query-error", format!("{code};{}", side(status))));
    }
    encoded
}

/// An error that no model describes.
pub fn encode_fault(route: &Route, request_id: &str, fault: &Fault) -> Encoded {
    let mut encoded = encode_bare(route.protocol, Some(route.service), request_id, fault);
    if route.is_query_mode {
        let (code, status) = (fault.code(Protocol::Query), fault.status(route.protocol));
        encoded.headers.push(("x-amzn-query-error", format!("{code};{}", side(status))));
    }
    encoded
}

/// A fault of a request that may not have got as far as to name a service.
pub(crate) fn encode_bare(
    protocol: Protocol,
    service: Option<&Service>,
    request_id: &str,
    fault: &Fault,
) -> Encoded {
    let error = ErrorReply {
        code: fault.code(protocol),
        status: fault.status(protocol),
        members: &Message(&fault.message),
        protocol,
        namespace: service.and_then(|service| service.xml_namespace),
        request_id,
    };
    error.encode()
}

fn is_xml(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Query | Protocol::Ec2)
}

/// Whose fault an error is, as awsQuery says it.
fn side(status: u16) -> &'static str {
    if status < 500 { "Sender" } else { "Receiver" }
}

/// An error's parts, the same for exceptions and faults.
struct ErrorReply<'a, E: Encode + ?Sized> {
    code: &'a str,
    status: u16,
    members: &'a E,
    protocol: Protocol,
    namespace: Option<&'static str>,
    request_id: &'a str,
}

impl<E: Encode + ?Sized> ErrorReply<'_, E> {
    fn encode(&self) -> Encoded {
        let body = match self.protocol {
            Protocol::Json10 | Protocol::Json11 => {
                let mut writer = JsonWriter::for_error(self.code);
                self.members.write(&mut writer, &shape::DOCUMENT);
                writer.finish()
            }
            Protocol::Cbor => {
                let mut writer = CborWriter::for_error(self.code);
                self.members.write(&mut writer, &shape::DOCUMENT);
                writer.finish()
            }
            Protocol::Query => self.query(),
            Protocol::Ec2 => self.ec2(),
        };
        let mut encoded = Encoded::new(self.protocol, self.status, self.request_id, body);
        if matches!(self.protocol, Protocol::Json10 | Protocol::Json11) {
            encoded.headers.push(("x-amzn-errortype", self.code.to_owned()));
        }
        encoded
    }

    fn query(&self) -> Vec<u8> {
        let mut writer = XmlWriter::for_exception();
        writer.open_with_namespace("ErrorResponse", self.namespace);
        writer.open("Error");
        writer.element("Type", side(self.status));
        writer.element("Code", self.code);
        self.members.write(&mut writer, &shape::DOCUMENT);
        writer.close("Error");
        writer.element("RequestId", self.request_id);
        writer.close("ErrorResponse");
        writer.finish().into_bytes()
    }

    fn ec2(&self) -> Vec<u8> {
        let mut writer = XmlWriter::for_exception();
        writer.open("Response");
        writer.open("Errors");
        writer.open("Error");
        writer.element("Code", self.code);
        self.members.write(&mut writer, &shape::DOCUMENT);
        writer.close("Error");
        writer.close("Errors");
        writer.element("RequestID", self.request_id);
        writer.close("Response");
        writer.finish().into_bytes()
    }
}

/// The members of an error that has just a message.
struct Message<'a>(&'a str);

static MESSAGE_MEMBERS: &[Member] = &[Member::new("message", &shape::STRING, false)];
static MESSAGE: Structure = Structure { name: "Error", members: MESSAGE_MEMBERS, union: false, error: None };

impl Encode for Message<'_> {
    fn write(&self, writer: &mut dyn Writer, _: &'static Type) {
        writer.begin_structure(&MESSAGE);
        if !self.0.is_empty() {
            writer.member(&MESSAGE_MEMBERS[0]);
            writer.string(self.0);
        }
        writer.end_structure();
    }
}
