//! The program by which the kernel finds the worker in a packet: classic BPF, run for each packet with the UDP payload before it.
//!
//! In: how many workers there are. Out: instructions. Never opens a socket.

/// One instruction of classic BPF, as in `struct sock_filter` of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if it is so.
    pub if_true: u8,
    /// And if not.
    pub if_false: u8,
    /// The constant.
    pub k: u32,
}

/// Codes of `linux/bpf_common.h`, put together: class, size or operation, source.
mod code {
    /// A = the byte at k.
    pub const LOAD_BYTE: u16 = 0x30;
    /// A = the two bytes at k, in the network's order.
    pub const LOAD_HALF: u16 = 0x28;
    /// Is any bit of k set in A?
    pub const TEST_BITS: u16 = 0x45;
    /// Skips k instructions.
    pub const SKIP: u16 = 0x05;
    /// A = A mod k.
    pub const MODULO: u16 = 0x94;
    /// Ends with A.
    pub const RETURN: u16 = 0x16;
}

/// The bit of a packet's first byte that makes its header a long one (RFC 9000 section 17.2).
const LONG_HEADER: u32 = 0x80;
/// Where the destination's id begins behind a long header: first byte, version, the id's length.
const LONG_ID_AT: u32 = 1 + 4 + 1;
/// And behind a short one (section 17.3).
const SHORT_ID_AT: u32 = 1;

/// Finds the worker's index in a UDP payload. A payload that is too short for an id ends the program, as the kernel has it with loads beyond
/// the packet: then it is the first worker's, which drops it like any noise.
pub fn program(workers: u16) -> [Instruction; 7] {
    let instruction = |code, if_true, if_false, k| Instruction { code, if_true, if_false, k };
    [
        instruction(code::LOAD_BYTE, 0, 0, 0),
        instruction(code::TEST_BITS, 0, 2, LONG_HEADER),
        instruction(code::LOAD_HALF, 0, 0, LONG_ID_AT),
        instruction(code::SKIP, 0, 0, 1),
        instruction(code::LOAD_HALF, 0, 0, SHORT_ID_AT),
        // The kernel refuses a program that divides by 0.
        instruction(code::MODULO, 0, 0, u32::from(workers.max(1))),
        instruction(code::RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with these codes.
    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        let load = |at: u32, length: usize| packet.get(at as usize..at as usize + length);
        let (mut a, mut next) = (0u32, 0);
        loop {
            let Instruction { code, if_true, if_false, k } = program[next];
            next += 1;
            match code {
                code::LOAD_BYTE => match load(k, 1) {
                    Some(bytes) => a = bytes[0].into(),
                    None => return 0,
                },
                code::LOAD_HALF => match load(k, 2) {
                    Some(bytes) => a = u16::from_be_bytes([bytes[0], bytes[1]]).into(),
                    None => return 0,
                },
                code::TEST_BITS => next += usize::from(if a & k != 0 { if_true } else { if_false }),
                code::SKIP => next += k as usize,
                code::MODULO => a %= k,
                code::RETURN => return a,
                other => panic!("no such code: {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_finds_the_id_behind_either_header() {
        let check = |workers: u16, packet: &[u8], worker: u32| assert_eq!(run(&program(workers), packet), worker, "{workers}: {packet:x?}");
        check(5, &[0x40, 0x01, 0x03, 9, 9, 9, 9, 9, 9], 0x0103 % 5);
        check(5, &[0xc3, 0, 0, 0, 1, 8, 0x01, 0x03, 9, 9, 9, 9, 9, 9], 0x0103 % 5);
        check(256, &[0x7f, 0xff, 0xff], 255);
        check(1, &[0x7f, 0xff, 0xff], 0);
        // An id of no bytes: what follows it is taken, which is some worker all the same.
        check(2, &[0xc3, 0, 0, 0, 1, 0, 8, 7], 1);
        for runt in [&[] as &[u8], &[0x40], &[0x40, 0xff], &[0xc3], &[0xc3, 0, 0, 0, 1, 8], &[0xc3, 0, 0, 0, 1, 8, 0xff]] {
            check(3, runt, 0);
        }
    }
}
