//! Gives the kernel a program that divides a port's packets. In: a socket and instructions. Out: whether the kernel took them.
//!
//! The one place of this house with unsafe code. No library that we know has a sound call for it: socket2 and rustix have none, and nix takes
//! a pointer from its caller in a function that is not marked unsafe.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use libc::{SO_ATTACH_REUSEPORT_CBPF, SOL_SOCKET, sock_filter, sock_fprog, socklen_t};

use super::program::Instruction;

/// Has the kernel ask `program` which of the sockets that share the port of `socket` takes a packet: by its place in the order in which they were
/// bound (socket(7), `SO_ATTACH_REUSEPORT_CBPF`).
pub(super) fn attach(socket: &UdpSocket, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<sock_filter> =
        program.iter().map(|it| sock_filter { code: it.code, jt: it.if_true, jf: it.if_false, k: it.k }).collect();
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len: length, filter: filter.as_mut_ptr() };
    let size = socklen_t::try_from(size_of::<sock_fprog>()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "a system call that takes a pointer, and has no safe form in the libraries we use")]
    // SAFETY: the descriptor is open as long as `socket` is borrowed; `program` is a `sock_fprog` of the size that is told, and points to `len`
    // instructions. The kernel reads both before the call returns, writes neither, and keeps no pointer.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, (&raw const program).cast(), size) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
