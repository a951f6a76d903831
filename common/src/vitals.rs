//! What the process itself takes: memory, file descriptors, tasks. In: the kernel's and the runtime's word. Out: gauges, set anew
//! whenever the metrics are read.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::RuntimeMetrics;

/// Runtimes of this process besides the one that answers for its metrics.
static RUNTIMES: Mutex<Vec<(u64, RuntimeMetrics)>> = Mutex::new(Vec::new());

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

/// Counts the tasks of one more runtime, until it is dropped.
#[derive(Debug)]
pub struct Counted(u64);

impl Counted {
    /// The runtime within which this is called.
    pub fn this_runtime() -> Self {
        let mut runtimes = runtimes();
        let number = runtimes.last().map_or(0, |(number, _)| number + 1);
        runtimes.push((number, tokio::runtime::Handle::current().metrics()));
        Self(number)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        runtimes().retain(|(number, _)| *number != self.0);
    }
}

fn runtimes() -> MutexGuard<'static, Vec<(u64, RuntimeMetrics)>> {
    // Nothing panics while it is locked, so what is found is whole.
    RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks that are not over: of this runtime, and of those that are [`Counted`].
fn tasks() -> usize {
    let others = runtimes().iter().map(|(_, runtime)| runtime.num_alive_tasks()).sum::<usize>();
    tokio::runtime::Handle::current().metrics().num_alive_tasks() + others
}

/// Sets the gauges `process_resident_memory_bytes`, `process_open_fds` (names as Prometheus' own clients have them) and
/// `dark_tower_tasks`, the tasks that are not over. Within a tokio runtime.
pub fn show() {
    if let Some(vitals) = Vitals::of("self") {
        metrics::gauge!("process_resident_memory_bytes").set(vitals.resident_bytes as f64);
        // One of them is the folder that was read.
        metrics::gauge!("process_open_fds").set(vitals.open_fds.saturating_sub(1) as f64);
    }
    metrics::gauge!("dark_tower_tasks").set(tasks() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let vitals = Vitals::of("self").expect("there is a /proc");
        assert!(vitals.resident_bytes > 1024 * 1024 && vitals.open_fds >= 3, "{vitals:?}");
    }

    #[tokio::test]
    async fn tasks_of_all_runtimes_are_counted() {
        let alone = tasks();
        let (told, counts) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let _counted = Counted::this_runtime();
                let _task = tokio::spawn(std::future::pending::<()>());
                told.send(()).expect("somebody listens");
                assert!(stopped.await.is_err(), "nothing is ever sent");
            });
        });
        counts.await.expect("it counts");
        assert_eq!(tasks(), alone + 1);
        drop(stop);
        thread.join().expect("no panic");
        assert_eq!(tasks(), alone);
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
