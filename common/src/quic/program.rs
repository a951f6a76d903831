//! The program by which the kernel finds the worker in a packet: classic BPF, run for each packet with the UDP payload before it.
//!
//! In: how many workers there are. Out: instructions. Never opens a socket.

use super::steering::{LONG_HEADER, LONG_ID_AT, SHORT_ID_AT};

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

/// Finds the worker's index in a UDP payload. A payload that is too short for an id ends the program, as the kernel has it with loads beyond
/// the packet: then it is the first worker's, which drops it like any noise.
pub fn program(workers: u16) -> [Instruction; 7] {
    let instruction = |code, if_true, if_false, k| Instruction { code, if_true, if_false, k };
    [
        instruction(code::LOAD_BYTE, 0, 0, 0),
        instruction(code::TEST_BITS, 0, 2, LONG_HEADER.into()),
        instruction(code::LOAD_HALF, 0, 0, LONG_ID_AT.into()),
        instruction(code::SKIP, 0, 0, 1),
        instruction(code::LOAD_HALF, 0, 0, SHORT_ID_AT.into()),
        // The kernel refuses a program that divides by 0.
        instruction(code::MODULO, 0, 0, u32::from(workers.max(1))),
        instruction(code::RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::steering::Steering;
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
        for runt in RUNTS {
            check(3, runt, 0);
        }
    }

    /// Too short for an id.
    const RUNTS: [&[u8]; 7] = [&[], &[0x40], &[0x40, 0xff], &[0xc3], &[0xc3, 0, 0, 0, 1, 8], &[0xc3, 0, 0, 0, 1, 8, 0xff], &[0x7f]];

    /// Whoever reads a packet knows of the same worker as the kernel; where that goes by addresses, only from ids that are ours.
    #[test]
    fn readers_and_kernel_agree() {
        for workers in [1, 2, 3, 7, 256] {
            let of = |by_id| Steering { workers, by_id };
            for head in (0..u16::MAX).step_by(997).map(u16::to_be_bytes) {
                let short = [&[0x40][..], &head, &[9; 20]].concat();
                let long = [&[0xc3, 0, 0, 0, 1, 8][..], &head, &[9; 20]].concat();
                for packet in [&short, &long] {
                    assert_eq!(of(true).owner(packet).map(u32::from), Some(run(&program(workers), packet)), "{workers}: {packet:x?}");
                }
                assert_eq!((of(false).owner(&short), of(false).owner(&long)), (of(true).owner(&short), None));
            }
            assert!(RUNTS.iter().all(|runt| of(true).owner(runt).is_none() && of(false).owner(runt).is_none()));
        }
    }
}
