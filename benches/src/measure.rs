//! What the kernel says of a measured process, and what becomes of several rounds.

use std::fs;

/// Time that the threads of process `pid` have had on a core since it started, seconds, by the scheduler's own count (nanoseconds): those
/// whose names begin with `threads`, or all for an empty text.
pub fn cpu_seconds(pid: u32, threads: &str) -> f64 {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if threads.is_empty() || read("comm").starts_with(threads) {
            // A thread that ends while we look is none that works.
            nanoseconds += read("schedstat").split(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        }
    }
    nanoseconds / 1e9
}

/// Time that all cores together have been at work since the machine started, or were taken from it, seconds: to a hundredth.
pub fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").expect("the kernel counts");
    let cpu = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).expect("the sum of all cores");
    busy_ticks(cpu) / TICKS_PER_SECOND
}

/// What the kernel counts in for programs, on every machine (`man 7 time`).
const TICKS_PER_SECOND: f64 = 100.0;

/// In order: user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; guests are in user already.
fn busy_ticks(cpu: &str) -> f64 {
    let ticks = cpu.split_ascii_whitespace().take(8).map(|text| text.parse().unwrap_or(0.0));
    ticks.enumerate().filter(|(place, _)| ![3, 4].contains(place)).map(|(_, ticks)| ticks).sum()
}

/// Memory that process `pid` holds, bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:") * 1024
}

/// The most that process `pid` has held since this was [forgotten](forget_peak), bytes.
pub fn peak_bytes(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmHWM:") * 1024
}

/// Lets the peak of process `pid` begin anew.
pub fn forget_peak(pid: u32) {
    // proc_pid_clear_refs(5): 5 resets the peak.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the process is ours");
}

/// Memory that process `pid` holds without what it shares with others: pages of several processes count in parts.
pub fn proportional_bytes(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:") * 1024
}

fn kilobytes(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("its size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Several rounds' worth of one number.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

impl FromIterator<f64> for Rounds {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Rounds {
    /// One more.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one, of an even number the mean of the two in the middle; not a number of none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
    }

    /// The least.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The greatest.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The places of those that are further than `share` of the median from it.
    pub fn outliers(&self, share: f64) -> Vec<usize> {
        let median = self.median();
        (0..self.0.len()).filter(|index| (self.0[*index] - median).abs() > share * median).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_told_from_the_median() {
        let rounds: Rounds = [10.0, 12.4, 9.0, 12.6, 7.4, 10.0, 10.0].into_iter().collect();
        assert_eq!((rounds.median(), rounds.min(), rounds.max()), (10.0, 7.4, 12.6));
        assert_eq!(rounds.outliers(0.25), [3, 4]);
        assert_eq!([1.0, 9.0, 2.0, 4.0].into_iter().collect::<Rounds>().median(), 3.0);
        assert!(Rounds::default().median().is_nan() && Rounds::default().outliers(0.25).is_empty());
    }

    #[test]
    fn idle_cores_are_not_busy() {
        assert_eq!(busy_ticks(" 100 20 3 9000 500 4 5 6 77 88"), 138.0);
        assert!(busy_seconds() > 0.0);
    }

    #[test]
    fn this_process_has_worked_and_holds_memory() {
        let pid = std::process::id();
        assert!(resident_bytes(pid) > 0 && proportional_bytes(pid) > 0 && cpu_seconds(pid, "") > 0.0);
        assert_eq!(cpu_seconds(pid, "no thread has this name"), 0.0);
    }
}
