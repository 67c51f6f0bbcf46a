//! Links, addresses, NAT and port publishing, applied through netlink.
