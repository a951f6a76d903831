//! Which addresses are the public internet's, by the IANA special-purpose registries (RFC 6890): whoever lets strangers name a target calls no other.
//!
//! In: an address that a name resolved to, or that stood in a URL. Out: a verdict. Never resolves a name.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 prefixes that are not the public internet's: address and length.
const INSIDE_V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),          // this network, RFC 791
    (Ipv4Addr::new(10, 0, 0, 0), 8),         // private, RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10),      // behind a provider's NAT, RFC 6598; a cloud's metadata service lives there
    (Ipv4Addr::new(127, 0, 0, 0), 8),        // loopback, RFC 1122
    (Ipv4Addr::new(168, 63, 129, 16), 32),   // a cloud's service for its own guests, at a public address
    (Ipv4Addr::new(169, 254, 0, 0), 16),     // link-local, RFC 3927; metadata services of clouds live there
    (Ipv4Addr::new(172, 16, 0, 0), 12),      // private, RFC 1918
    (Ipv4Addr::new(192, 0, 0, 0), 24),       // protocol assignments, RFC 6890
    (Ipv4Addr::new(192, 0, 2, 0), 24),       // documentation, RFC 5737
    (Ipv4Addr::new(192, 88, 99, 0), 24),     // 6to4 relays, RFC 7526
    (Ipv4Addr::new(192, 168, 0, 0), 16),     // private, RFC 1918
    (Ipv4Addr::new(198, 18, 0, 0), 15),      // benchmarks, RFC 2544
    (Ipv4Addr::new(198, 51, 100, 0), 24),    // documentation, RFC 5737
    (Ipv4Addr::new(203, 0, 113, 0), 24),     // documentation, RFC 5737
    (Ipv4Addr::new(224, 0, 0, 0), 4),        // multicast, RFC 5771
    (Ipv4Addr::new(240, 0, 0, 0), 4),        // reserved, RFC 1112
    (Ipv4Addr::new(255, 255, 255, 255), 32), // broadcast, RFC 919
];

/// Global unicast, RFC 4291: of IPv6, nothing else is public, but for what carries an IPv4 address.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Prefixes within [`GLOBAL_V6`] that are not public.
const INSIDE_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, RFC 2928: Teredo, ORCHID, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation, RFC 3849
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation, RFC 9637
];

/// Prefixes whose addresses carry an IPv4 address, and how many bits follow it: what they reach is that address.
const CARRIERS: [(Ipv6Addr, u32, u32); 3] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 0),    // IPv4-mapped, RFC 4291
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 0), // NAT64, RFC 6052
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80),   // 6to4, RFC 3056
];

/// Whether `address` is somewhere on the public internet: not this machine, its networks, a cloud's inside, nor nowhere at all.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(prefix, length): &(Ipv4Addr, u32)| (address.to_bits() ^ prefix.to_bits()) >> (32 - length) == 0;
    !INSIDE_V4.iter().any(within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |(prefix, length): (Ipv6Addr, u32)| (address.to_bits() ^ prefix.to_bits()) >> (128 - length) == 0;
    if let Some((_, _, behind)) = CARRIERS.into_iter().find(|(prefix, length, _)| within((*prefix, *length))) {
        #[expect(clippy::cast_possible_truncation, reason = "the lower 32 bits are meant")]
        return is_public_v4(Ipv4Addr::from_bits((address.to_bits() >> behind) as u32));
    }
    within(GLOBAL_V6) && !INSIDE_V6.into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_is_told_from_the_outside() {
        let check = |expected: bool, addresses: &[&str]| {
            for text in addresses {
                let address: IpAddr = text.parse().expect("an address");
                assert_eq!(is_public(address), expected, "{address}");
            }
        };
        check(true, &["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"]);
        check(
            true,
            &["168.63.129.15", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "223.255.255.255"],
        );
        check(
            false,
            &["0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"],
        );
        check(false, &["168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1"]);
        check(false, &["192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.2.3"]);
        check(false, &["240.0.0.1", "255.255.255.255"]);
        check(true, &["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1"]);
        check(false, &["::", "::1", "::7f00:1", "fe80::1", "febf::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1", "5f00::1"]);
        check(false, &["2001::1", "2001:10::1", "2001:20::1", "2001:2::1", "2001:db8::1", "3fff::1", "64:ff9b:1::1", "4000::1"]);
    }

    /// An IPv4 address in an IPv6 coat is where it leads.
    #[test]
    fn coats_are_looked_under() {
        let check = |expected: bool, text: &str| assert_eq!(is_public(text.parse().expect("an address")), expected, "{text}");
        check(false, "::ffff:127.0.0.1");
        check(false, "::ffff:10.0.0.1");
        check(false, "::ffff:169.254.169.254");
        check(true, "::ffff:8.8.8.8");
        check(false, "64:ff9b::10.0.0.1");
        check(false, "64:ff9b::169.254.169.254");
        check(true, "64:ff9b::8.8.8.8");
        check(false, "2002:7f00:1::");
        check(false, "2002:a9fe:a9fe::1");
        check(false, "2002:c0a8:1::1");
        check(true, "2002:808:808::1");
    }
}
