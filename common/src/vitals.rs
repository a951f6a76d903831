//! What the process itself takes: memory, file descriptors, tasks. In: the kernel's and the runtime's word. Out: gauges, set anew
//! whenever the metrics are read.

use std::fs;

/// Resident memory and the limits beside it, as the kernel counts them; `None` where there is no `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors: sockets, files, timers.
    pub open_fds: u64,
}

impl Vitals {
    /// Of the process with this id; `self` is this one.
    pub fn of(process: &str) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let resident_bytes = kilobytes(&status, "VmRSS:")? * 1024;
        let open_fds = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64;
        Some(Self { resident_bytes, open_fds })
    }
}

/// The number behind `name` in `/proc/…/status`.
pub fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Sets the gauges `process_resident_memory_bytes`, `process_open_fds` (names as Prometheus' own clients have them) and
/// `dark_tower_tasks`, the tasks of this runtime that are not over. Within a tokio runtime.
pub fn show() {
    if let Some(vitals) = Vitals::of("self") {
        metrics::gauge!("process_resident_memory_bytes").set(vitals.resident_bytes as f64);
        // One of them is the folder that was read.
        metrics::gauge!("process_open_fds").set(vitals.open_fds.saturating_sub(1) as f64);
    }
    metrics::gauge!("dark_tower_tasks").set(tokio::runtime::Handle::current().metrics().num_alive_tasks() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let vitals = Vitals::of("self").expect("there is a /proc");
        assert!(vitals.resident_bytes > 1024 * 1024 && vitals.open_fds >= 3, "{vitals:?}");
    }

    #[test]
    fn the_kernel_s_lines_are_read() {
        let status = "Name:\tdark-tower\nVmHWM:\t  20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(
            (kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:"), kilobytes(status, "VmSwap:")),
            (Some(10_240), Some(20_480), None)
        );
    }
}
