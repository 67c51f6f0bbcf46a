//! nf_tables messages: chains, rules and maps as nfnetlink batches.
//!
//! Numbers are those of the kernel's `nf_tables.h`; attributes are big-endian, register contents are in the byte
//! order in which the kernel loads them.

use crate::netlink::{CREATE, Messages, Socket};
use std::io;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FAMILY_IPV4: u8 = 2;

const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;

pub(crate) const REGISTER: u32 = 8;
const VERDICT: u32 = 0;

#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

#[derive(Clone, Copy)]
pub(crate) enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

pub(crate) struct Chain<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

/// Several changes that take effect together or not at all.
pub(crate) struct Batch<'a> {
    table: &'a str,
    messages: Messages,
}

fn header(resource: u16) -> [u8; 4] {
    let id = resource.to_be_bytes();
    [FAMILY_IPV4, 0, id[0], id[1]]
}

impl<'a> Batch<'a> {
    pub(crate) fn new(table: &'a str) -> Self {
        let mut messages = Messages::default();
        messages.begin(BATCH_BEGIN, 0, &[0, 0, 0, 10]);
        Self { table, messages }
    }

    /// Sends the batch; an error of any part undoes all of it.
    pub(crate) fn commit(mut self, socket: &mut Socket) -> io::Result<()> {
        self.messages.acknowledge();
        let last = self.messages.sequence();
        self.messages.begin(BATCH_END, 0, &[0, 0, 0, 10]);
        socket.request_batch(&self.messages, last)
    }

    pub(crate) fn add_table(&mut self) {
        self.messages.begin(NEW_TABLE, CREATE, &header(0)).string(1, self.table);
    }

    pub(crate) fn delete_table(&mut self) {
        self.messages.begin(DELETE_TABLE, 0, &header(0)).string(1, self.table);
    }

    pub(crate) fn add_chain(&mut self, chain: &Chain<'_>) {
        self.messages
            .begin(NEW_CHAIN, CREATE, &header(0))
            .string(1, self.table)
            .string(3, chain.name)
            .nest(4, |m| {
                m.attr(1, &(chain.hook as u32).to_be_bytes()).attr(2, &chain.priority.to_be_bytes());
            })
            .string(7, chain.kind);
    }

    /// A hash map; key and value types tell `nft list` how to print them.
    pub(crate) fn add_map(
        &mut self,
        name: &str,
        (key_type, key_len): (u32, u32),
        (value_type, value_len): (u32, u32),
    ) {
        const MAP: u32 = 8;
        self.messages
            .begin(NEW_SET, CREATE, &header(0))
            .string(1, self.table)
            .string(2, name)
            .attr(3, &MAP.to_be_bytes())
            .attr(4, &key_type.to_be_bytes())
            .attr(5, &key_len.to_be_bytes())
            .attr(6, &value_type.to_be_bytes())
            .attr(7, &value_len.to_be_bytes())
            .attr(10, &1_u32.to_be_bytes());
    }

    pub(crate) fn add_rule(&mut self, chain: &str, build: impl FnOnce(&mut Rule<'_>)) {
        self.messages
            .begin(NEW_RULE, CREATE | 0x800, &header(0))
            .string(1, self.table)
            .string(2, chain)
            .nest(4, |messages| {
                build(&mut Rule { messages });
            });
    }

    pub(crate) fn add_element(&mut self, map: &str, key: &[u8], value: &[u8]) {
        self.element(NEW_ELEMENT, CREATE, map, (key, Some(value)));
    }

    pub(crate) fn delete_element(&mut self, map: &str, key: &[u8]) {
        self.element(DELETE_ELEMENT, 0, map, (key, None));
    }

    fn element(&mut self, kind: u16, flags: u16, map: &str, (key, value): (&[u8], Option<&[u8]>)) {
        self.messages.begin(kind, flags, &header(0)).string(1, self.table).string(2, map).nest(3, |m| {
            m.nest(1, |m| {
                m.nest(1, |m| {
                    m.attr(1, key);
                });
                if let Some(value) = value {
                    m.nest(2, |m| {
                        m.attr(1, value);
                    });
                }
            });
        });
    }
}

/// The expressions of one rule, in the order in which the kernel runs them.
pub(crate) struct Rule<'a> {
    messages: &'a mut Messages,
}

impl Rule<'_> {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Messages)) -> &mut Self {
        self.messages.nest(1, |m| {
            m.string(1, name).nest(2, data);
        });
        self
    }

    fn compare(&mut self, equal: bool, value: &[u8]) -> &mut Self {
        self.expression("cmp", |m| {
            m.attr(1, &REGISTER.to_be_bytes()).attr(2, &u32::from(!equal).to_be_bytes()).nest(3, |m| {
                m.attr(1, value);
            });
        })
    }

    fn load_meta(&mut self, key: u32, register: u32) -> &mut Self {
        self.expression("meta", |m| {
            m.attr(1, &register.to_be_bytes()).attr(2, &key.to_be_bytes());
        })
    }

    fn load_payload(&mut self, (base, offset, length): (u32, u32, u32), register: u32) -> &mut Self {
        self.expression("payload", |m| {
            m.attr(1, &register.to_be_bytes())
                .attr(2, &base.to_be_bytes())
                .attr(3, &offset.to_be_bytes())
                .attr(4, &length.to_be_bytes());
        })
    }

    fn mask(&mut self, mask: &[u8]) -> &mut Self {
        let length = u32::try_from(mask.len()).unwrap_or(4);
        self.expression("bitwise", |m| {
            m.attr(1, &REGISTER.to_be_bytes())
                .attr(2, &REGISTER.to_be_bytes())
                .attr(3, &length.to_be_bytes())
                .nest(4, |m| {
                    m.attr(1, mask);
                })
                .nest(5, |m| {
                    m.attr(1, &vec![0; mask.len()]);
                });
        })
    }

    /// The packet came in through a link whose name begins with `prefix`.
    pub(crate) fn arrives_by(&mut self, prefix: &str) -> &mut Self {
        self.load_meta(6, REGISTER).compare(true, prefix.as_bytes())
    }

    /// The packet leaves through a link whose name begins with `prefix`, or does not.
    pub(crate) fn leaves_by(&mut self, prefix: &str, really: bool) -> &mut Self {
        self.load_meta(7, REGISTER).compare(really, prefix.as_bytes())
    }

    pub(crate) fn source(&mut self, subnet: crate::Subnet) -> &mut Self {
        self.address(12, subnet)
    }

    pub(crate) fn destination(&mut self, subnet: crate::Subnet) -> &mut Self {
        self.address(16, subnet)
    }

    fn address(&mut self, offset: u32, subnet: crate::Subnet) -> &mut Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(subnet.prefix())).unwrap_or(0).to_be_bytes();
        self.load_payload((1, offset, 4), REGISTER).mask(&mask).compare(true, &subnet.network().octets())
    }

    pub(crate) fn protocol(&mut self, number: u8) -> &mut Self {
        self.load_meta(16, REGISTER).compare(true, &[number])
    }

    pub(crate) fn destination_port(&mut self, port: u16) -> &mut Self {
        self.load_payload((2, 2, 2), REGISTER).compare(true, &port.to_be_bytes())
    }

    /// The destination is one of this machine's own addresses.
    pub(crate) fn destination_is_local(&mut self) -> &mut Self {
        const ADDRESS_TYPE: u32 = 3;
        const BY_DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        self.expression("fib", |m| {
            m.attr(1, &REGISTER.to_be_bytes())
                .attr(2, &ADDRESS_TYPE.to_be_bytes())
                .attr(3, &BY_DESTINATION.to_be_bytes());
        })
        .compare(true, &LOCAL.to_ne_bytes())
    }

    /// Some bit of conntrack's `key` (0 state, 2 status) is among `bits`.
    fn connection(&mut self, key: u32, bits: u32) -> &mut Self {
        self.expression("ct", |m| {
            m.attr(1, &REGISTER.to_be_bytes()).attr(2, &key.to_be_bytes());
        })
        .mask(&bits.to_ne_bytes())
        .compare(false, &[0; 4])
    }

    pub(crate) fn established(&mut self) -> &mut Self {
        const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
        self.connection(0, ESTABLISHED_OR_RELATED)
    }

    pub(crate) fn was_forwarded_to_a_port(&mut self) -> &mut Self {
        const DESTINATION_NAT: u32 = 1 << 5;
        self.connection(2, DESTINATION_NAT)
    }

    /// Loads protocol and destination port, after the destination address if asked, as the key of a lookup.
    pub(crate) fn load_key(&mut self, with_address: bool) -> &mut Self {
        let mut next = REGISTER;
        if with_address {
            self.load_payload((1, 16, 4), next);
            next += 1;
        }
        self.load_meta(16, next).load_payload((2, 2, 2), next + 1)
    }

    /// Replaces the destination by what the map holds for the loaded key; goes on to the next rule if nothing.
    pub(crate) fn forward_by(&mut self, map: &str) -> &mut Self {
        self.expression("lookup", |m| {
            m.string(1, map).attr(2, &REGISTER.to_be_bytes()).attr(3, &REGISTER.to_be_bytes());
        })
        .forward()
    }

    /// Replaces the destination by a fixed address and port.
    pub(crate) fn forward_to(&mut self, address: std::net::Ipv4Addr, port: u16) -> &mut Self {
        self.immediate(REGISTER, &address.octets()).immediate(REGISTER + 1, &port.to_be_bytes()).forward()
    }

    fn immediate(&mut self, register: u32, value: &[u8]) -> &mut Self {
        self.expression("immediate", |m| {
            m.attr(1, &register.to_be_bytes()).nest(2, |m| {
                m.attr(1, value);
            });
        })
    }

    fn forward(&mut self) -> &mut Self {
        const DESTINATION: u32 = 1;
        self.expression("nat", |m| {
            m.attr(1, &DESTINATION.to_be_bytes())
                .attr(2, &u32::from(FAMILY_IPV4).to_be_bytes())
                .attr(3, &REGISTER.to_be_bytes())
                .attr(5, &(REGISTER + 1).to_be_bytes());
        })
    }

    pub(crate) fn masquerade(&mut self) -> &mut Self {
        self.expression("masq", |_| {})
    }

    pub(crate) fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.expression("immediate", |m| {
            m.attr(1, &VERDICT.to_be_bytes()).nest(2, |m| {
                m.nest(2, |m| {
                    m.attr(1, &(verdict as u32).to_be_bytes());
                });
            });
        })
    }
}

/// How many elements a map holds; a missing table is an error.
pub(crate) fn count_elements(socket: &mut Socket, table: &str, map: &str) -> io::Result<usize> {
    use crate::netlink::{DUMP, attributes};
    let mut request = Messages::default();
    request.begin(GET_ELEMENT, DUMP, &header(0)).string(1, table).string(2, map);
    let mut count = 0;
    socket.dump(&request, |(_, payload)| {
        for (_, elements) in attributes(payload.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 3) {
            count += attributes(elements).count();
        }
    })?;
    Ok(count)
}
