//! Frames of ACS and TCS, the two websockets between the control plane and an agent.
//!
//! A frame is `{"type":"Name","message":{…}}`. On TCS the agent puts signed header lines and an empty line in front.
//! Source: amazon-ecs-agent, `ecs-agent/wsclient` and `ecs-agent/tcs/client`.

use crate::{acs, tcs};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use thiserror::Error;
use wire::{Decode, DecodeError, Encode, json};

/// Why a frame could not be read. A peer logs it and goes on with the next frame.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FrameError {
    #[error("the frame is not of the form {{\"type\":…,\"message\":…}}: {0}")]
    NotAFrame(String),
    /// Both sides drop types that they do not know, so that either can be newer than the other.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    #[error("a {name} cannot be read")]
    Unreadable { name: &'static str, source: DecodeError },
}

macro_rules! messages {
    ($(#[$doc:meta])* $enum:ident in $module:ident { $($name:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $enum { $($name($module::$name)),* }

        impl $enum {
            /// The frame's `type`.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }

            /// The frame as text.
            pub fn encode(&self) -> String {
                let message = match self { $(Self::$name(message) => body(message)),* };
                format!("{{\"type\":\"{}\",\"message\":{message}}}", self.name())
            }

            /// Reads a frame's text.
            pub fn decode(text: &str) -> Result<Self, FrameError> {
                let envelope = Envelope::parse(text)?;
                match envelope.name.as_ref() {
                    $(stringify!($name) => read(stringify!($name), envelope.message).map(Self::$name),)*
                    other => Err(FrameError::UnknownType(other.to_owned())),
                }
            }
        }

        $(impl From<$module::$name> for $enum {
            fn from(message: $module::$name) -> Self {
                Self::$name(message)
            }
        })*
    };
}

messages! {
    /// Everything that goes over ACS, in both directions.
    AcsMessage in acs {
        AckRequest,
        AttachInstanceNetworkInterfacesMessage,
        AttachTaskNetworkInterfacesMessage,
        CloseMessage,
        ConfirmAttachmentMessage,
        ErrorMessage,
        HeartbeatAckRequest,
        HeartbeatMessage,
        IAMRoleCredentialsAckRequest,
        IAMRoleCredentialsMessage,
        NackRequest,
        PayloadMessage,
        PerformUpdateMessage,
        StageUpdateMessage,
        TaskManifestMessage,
        TaskStopVerificationAck,
        TaskStopVerificationMessage,
    }
}

messages! {
    /// Everything that goes over TCS, in both directions.
    TcsMessage in tcs {
        AckPublishHealth,
        AckPublishInstanceStatus,
        AckPublishMetric,
        HeartbeatMessage,
        PublishHealthRequest,
        PublishInstanceStatusRequest,
        PublishMetricsRequest,
        StopTelemetrySessionMessage,
    }
}

/// A frame's two members; the message stays text until its type is known.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    message: &'a RawValue,
}

impl<'a> Envelope<'a> {
    fn parse(text: &'a str) -> Result<Self, FrameError> {
        serde_json::from_str(text).map_err(|e| FrameError::NotAFrame(e.to_string()))
    }
}

fn read<T: Decode>(name: &'static str, message: &RawValue) -> Result<T, FrameError> {
    json::from_slice(message.get().as_bytes()).map_err(|source| FrameError::Unreadable { name, source })
}

fn body(message: &dyn Encode) -> String {
    String::from_utf8_lossy(&json::to_vec(message)).into_owned()
}

/// One frame from an agent on TCS: header lines that sign the text below them, as an HTTP request's would.
///
/// The signature is over a GET of the session's URL with the text as body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedFrame<'a> {
    /// Names and values in their order; names in the case in which they were written.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The frame, to be verified as it stands and then decoded.
    pub body: &'a str,
}

impl<'a> SignedFrame<'a> {
    /// Splits at the first empty line.
    pub fn parse(text: &'a str) -> Result<Self, FrameError> {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| FrameError::NotAFrame("no empty line ends its headers".to_owned()))?;
        let headers = head
            .split("\r\n")
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| FrameError::NotAFrame(format!("{line:?} is not a header line")))?;
                Ok((name.trim(), value.trim()))
            })
            .collect::<Result<_, FrameError>>()?;
        Ok(Self { headers, body })
    }

    /// A header's value; names are compared without case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The whole frame as text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.body.len() + 512);
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.push_str(self.body);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_as_amazon_s_agent_takes_it() {
        let text = r#"{"type":"PayloadMessage","message":{"messageId":"m2","seqNum":10,"unknown":[{}],
            "tasks":[{"arn":"arn:t","desiredStatus":"RUNNING","containers":[{"name":"app","essential":true,
            "dockerConfig":{"hostConfig":"{\"NetworkMode\":\"host\"}"}}]}]}}"#;
        let AcsMessage::PayloadMessage(payload) = AcsMessage::decode(text).unwrap() else { panic!() };
        assert_eq!(payload.seq_num, Some(10));
        let task = &payload.tasks.as_ref().unwrap()[0];
        let host =
            task.containers.as_ref().unwrap()[0].docker_config.as_ref().unwrap().host_config.as_deref();
        assert_eq!(host, Some(r#"{"NetworkMode":"host"}"#));
        let frame = AcsMessage::from(payload);
        assert_eq!(AcsMessage::decode(&frame.encode()).unwrap(), frame);
    }

    #[test]
    fn the_message_may_come_before_the_type() {
        let frame =
            AcsMessage::decode(r#"{"message":{"messageId":"h","healthy":true},"type":"HeartbeatMessage"}"#);
        assert_eq!(frame.unwrap().name(), "HeartbeatMessage");
    }

    #[test]
    fn what_is_not_a_frame_is_told_apart() {
        assert!(matches!(AcsMessage::decode("{"), Err(FrameError::NotAFrame(_))));
        let unknown = AcsMessage::decode(r#"{"type":"Novel","message":{}}"#);
        assert_eq!(unknown, Err(FrameError::UnknownType("Novel".to_owned())));
        for text in [
            r#"{"type":"AckRequest","message":{"messageId":3}}"#,
            r#"{"type":"IAMRoleCredentialsMessage","message":{"roleType":"King"}}"#,
        ] {
            let unreadable = AcsMessage::decode(text);
            assert!(matches!(unreadable, Err(FrameError::Unreadable { .. })), "{unreadable:?}");
        }
    }

    #[test]
    fn a_signed_frame_round_trips() {
        let message = TcsMessage::from(tcs::HeartbeatMessage { healthy: Some(true) });
        let body = message.encode();
        let frame =
            SignedFrame { headers: vec![("Host", "h:1"), ("X-Amz-Date", "20261122T150725Z")], body: &body };
        let text = frame.encode();
        assert!(text.starts_with("Host: h:1\r\nX-Amz-Date: 20261122T150725Z\r\n\r\n{\"type\""), "{text}");
        assert_eq!(SignedFrame::parse(&text).unwrap(), frame);
        assert_eq!(frame.header("x-amz-date"), Some("20261122T150725Z"));
        assert!(SignedFrame::parse("{\"type\":\"HeartbeatMessage\"}").is_err());
    }
}
