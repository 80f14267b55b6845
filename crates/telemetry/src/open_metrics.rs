//! OpenMetrics 1.0 out of the Prometheus text format, for scrapers that ask for it: exemplars are its alone.

use std::fmt::Write;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format, version 0.0.4.
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(kinds) if kinds.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// A page that was rendered for this format, as it is sent: of OpenMetrics a counter's family is named without
    /// `_total` (section 5.1.2), and the page has an end.
    pub fn finish(self, page: String) -> String {
        if self == Self::Prometheus {
            return page;
        }
        let mut counters = std::collections::HashSet::new();
        for line in page.lines() {
            let declared = line.strip_prefix("# TYPE ");
            if let Some(name) = declared.and_then(|rest| rest.strip_suffix("_total counter")) {
                counters.insert(name);
            }
        }
        let mut out = String::with_capacity(page.len() + 8);
        for line in page.lines() {
            let family = line.strip_prefix("# ").and_then(|rest| {
                let (word, rest) = rest.split_once(' ')?;
                let (name, rest) = rest.split_once(' ')?;
                let name = name.strip_suffix("_total")?;
                counters.contains(name).then_some((word, name, rest))
            });
            let _ = match family {
                Some((word, name, rest)) => writeln!(out, "# {word} {name} {rest}"),
                None => writeln!(out, "{line}"),
            };
        }
        out.push_str("# EOF\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_their_ending_in_the_family_alone() {
        let page = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"y\"} 1\n# TYPE b_total gauge\nb_total 2\n";
        assert_eq!(
            Format::OpenMetrics.finish(page.into()),
            "# HELP a Things.\n# TYPE a counter\na_total{x=\"y\"} 1\n# TYPE b_total gauge\nb_total 2\n# EOF\n"
        );
        assert_eq!(Format::Prometheus.finish(page.into()), page);
    }

    #[test]
    fn it_is_used_where_it_is_asked_for() {
        let accepted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        assert_eq!(Format::accepted(Some(accepted)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("text/plain")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
