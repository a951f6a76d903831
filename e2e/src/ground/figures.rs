//! What a process takes, as the kernel and its own admin endpoint say.

use std::fmt::{Display, Formatter};

use anyhow::{Context, ensure};
use common::vitals::{Vitals, kilobytes};

use crate::api::Api;

/// Memory, tasks, file descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// The most that it has been since [`Figures::reset`], in bytes: the kernel misses no moment.
    pub peak_bytes: u64,
    /// Tasks of the runtime.
    pub tasks: u64,
    /// Open file descriptors.
    pub fds: u64,
}

impl Figures {
    /// Of the process with this id, whose admin endpoint `metrics` leads to.
    pub async fn of(process_id: u32, metrics: &Api) -> anyhow::Result<Self> {
        let text = self::metrics(metrics).await?;
        let vitals = Vitals::of(&process_id.to_string()).context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{process_id}/status"))?;
        Ok(Self {
            resident_bytes: vitals.resident_bytes,
            peak_bytes: kilobytes(&status, "VmHWM:").context("the kernel tells the peak")? * 1024,
            tasks: metric(&text, "dark_tower_tasks", &[]) as u64,
            fds: vitals.open_fds,
        })
    }

    /// The same, and the peak of memory begins anew.
    pub async fn reset(process_id: u32, metrics: &Api) -> anyhow::Result<Self> {
        // proc_pid_clear_refs(5): 5 resets the peak.
        std::fs::write(format!("/proc/{process_id}/clear_refs"), "5").context("the peak of memory cannot be reset")?;
        Self::of(process_id, metrics).await
    }

    /// The higher of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes.max(other.resident_bytes),
            peak_bytes: self.peak_bytes.max(other.peak_bytes),
            tasks: self.tasks.max(other.tasks),
            fds: self.fds.max(other.fds),
        }
    }
}

impl Display for Figures {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} MiB, {} tasks, {} fds", self.resident_bytes >> 20, self.tasks, self.fds)
    }
}

/// All that the admin endpoint tells.
pub(super) async fn metrics(api: &Api) -> anyhow::Result<String> {
    let answer = api.request(reqwest::Method::GET, "/metrics").send().await?;
    ensure!(answer.status() == 200, "/metrics answered {}", answer.status());
    Ok(answer.text().await?)
}

/// The sum over all lines of a metric that have these labels.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let chosen = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    chosen.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_labels() {
        let text = "# TYPE a counter\na{door=\"wt\",reason=\"rate\"} 3\na{door=\"ws\",reason=\"rate\"} 4\nab 9\nb 1.5\n";
        assert_eq!(metric(text, "a", &[]), 7.0);
        assert_eq!(metric(text, "a", &["door=\"ws\""]), 4.0);
        assert_eq!((metric(text, "b", &[]), metric(text, "c", &[])), (1.5, 0.0));
    }
}
