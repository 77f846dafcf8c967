//! The text that Prometheus reads (text format 0.0.4), read.

use std::collections::BTreeMap;

/// The samples of one reading, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scrape(BTreeMap<String, Vec<Sample>>);

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// A line that is none of the text format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {0} of the node's metrics cannot be read; is it a node's admin listener, and of a version like this one?"
)]
pub(super) struct Malformed(usize);

impl Scrape {
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (name, sample) = sample(line).ok_or(Malformed(at + 1))?;
            samples.entry(name.to_owned()).or_default().push(sample);
        }
        Ok(Self(samples))
    }

    /// The samples of that name.
    pub(super) fn all(&self, name: &str) -> &[Sample] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sum of the samples of that name that have these labels; `None` if there is none.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.all(name).iter().filter(|sample| sample.has(labels)).map(|sample| sample.value).peekable();
        found.peek()?;
        Some(found.sum())
    }
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == *value)
    }
}

fn sample(line: &str) -> Option<(&str, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after;
        }
    }
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        number => number.parse().ok()?,
    };
    Some((name, Sample { labels, value }))
}

/// A label's value, and what follows its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, text.get(at + 1..)?)),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_escapes_and_infinity_are_read() {
        let text = "# HELP a A.\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}\\\\\\n,\"} 3\na{x=\"2\"} 4.5\nb_bucket{le=\"+Inf\"} 2\nc 1\n";
        let scrape = Scrape::parse(text).unwrap();
        assert_eq!(scrape.all("a")[0].label("y"), "q\"}\\\n,");
        assert_eq!((scrape.sum("a", &[]), scrape.sum("a", &[("x", "2")])), (Some(7.5), Some(4.5)));
        assert_eq!((scrape.sum("c", &[]), scrape.sum("d", &[])), (Some(1.0), None));
        assert_eq!(Scrape::parse("a 1\n<html>"), Err(Malformed(2)));
        for wrong in ["a{x=\"1} 3", "a{x=1} 3", "a", "a b"] {
            assert!(Scrape::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_node_writes_is_read() {
        let metrics = crate::metrics::Metrics::new();
        metrics.register("population").took(std::time::Duration::from_millis(3));
        let scrape = Scrape::parse(&metrics.encode()).unwrap();
        assert_eq!(scrape.sum("popgate_upstream_duration_seconds_count", &[("register", "population")]), Some(1.0));
    }
}
