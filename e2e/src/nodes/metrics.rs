//! The Prometheus text of a process, as far as tests read it.

use std::collections::BTreeMap;

/// Every series with its value: `name{label="value"}` as it was printed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the exposition format; what is no sample is left out.
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum over all series of `name`; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }

    /// One series, as it is printed.
    pub fn series(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// How many series there are, the buckets of histograms left out.
    pub fn len(&self) -> usize {
        self.0.keys().filter(|series| !series.contains("le=\"")).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_name_are_summed() {
        let metrics = Metrics::parse("# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\n\nb 0.5\nc_bucket{le=\"1\"} 4\n");
        assert_eq!((metrics.sum("a"), metrics.sum("ab"), metrics.sum("c")), (5.0, 7.0, 0.0));
        assert_eq!((metrics.series("a{x=\"2\"}"), metrics.len()), (Some(3.0), 4));
    }
}
