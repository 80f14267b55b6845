//! The file that a proxy starts from, as `docs/architecture.md` has it.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hauberk_telemetry::edge::Peer;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    pub node: Node,
    /// Unix socket of the ADS and SDS server.
    pub xds: PathBuf,
    /// Unix socket that the proxy makes.
    pub admin: PathBuf,
    pub records: PathBuf,
    pub access_log: PathBuf,
    /// Address that endpoints see; absent: the kernel's choice.
    #[serde(default)]
    pub source_address: Option<IpAddr>,
    /// The same for endpoints of the other version of IP.
    #[serde(default)]
    pub other_source_address: Option<IpAddr>,
    /// `SO_MARK` of sockets toward endpoints; 0: none.
    #[serde(default)]
    pub upstream_mark: u32,
    #[serde(default = "one")]
    pub workers: usize,
    #[serde(default = "five", rename = "drain_seconds")]
    drain_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: String,
    #[serde(default)]
    pub cluster: String,
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

fn one() -> usize {
    1
}

fn five() -> u64 {
    5
}

#[derive(Debug)]
pub struct BootstrapError {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "bootstrap file {}: {}; docs/architecture.md says what it holds",
            self.path.display(),
            self.reason
        )
    }
}

impl std::error::Error for BootstrapError {}

impl Bootstrap {
    /// # Errors
    /// The file cannot be read, is not JSON of this form, or asks for the impossible.
    pub fn read(path: &Path) -> Result<Self, BootstrapError> {
        let error = |reason: String| BootstrapError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
        Self::parse(&text).map_err(error)
    }

    /// # Errors
    /// The text is not JSON of this form, or asks for the impossible.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bootstrap: Self = serde_json::from_str(text).map_err(|cause| cause.to_string())?;
        if bootstrap.workers == 0 || bootstrap.workers > 1024 {
            return Err(format!(
                "expected workers from 1 to 1024, found {}",
                bootstrap.workers
            ));
        }
        if bootstrap.node.id.split('~').count() != 4 {
            return Err(format!(
                "expected node.id as KIND~IP~NAME.NAMESPACE~DOMAIN, found {:?}",
                bootstrap.node.id
            ));
        }
        Ok(bootstrap)
    }

    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// `NAME.NAMESPACE`.
    pub fn pod(&self) -> &str {
        self.node.id.split('~').nth(2).unwrap_or_default()
    }

    /// For metrics: `WORKLOAD_NAME` of the metadata, else the pod's name.
    pub fn workload(&self) -> &str {
        let stated = self
            .node
            .metadata
            .get("WORKLOAD_NAME")
            .and_then(Value::as_str);
        stated.unwrap_or_else(|| self.pod().split('.').next().unwrap_or_default())
    }

    /// The pod as metrics name it: `NAMESPACE` and the labels `app` and `version` of the metadata.
    pub fn peer(&self) -> Peer {
        let metadata = &self.node.metadata;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().into();
        let label = |name: &str| text(metadata.get("LABELS").and_then(|labels| labels.get(name)));
        Peer {
            workload: self.workload().into(),
            namespace: text(metadata.get("NAMESPACE")),
            app: label("app"),
            version: label("version"),
            principal: "".into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Bootstrap, String> {
        let file = format!(
            "hauberk-bootstrap-{}-{}.json",
            std::process::id(),
            text.len()
        );
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        let result = Bootstrap::read(&path).map_err(|error| error.to_string());
        std::fs::remove_file(&path).map_err(|error| error.to_string())?;
        result
    }

    #[test]
    fn the_contract_s_example() {
        let text = r#"{"node": {"id": "sidecar~10.66.0.7~web-7d9f.bank~bank.svc.cluster.local", "cluster": "web.bank",
          "metadata": {"WORKLOAD_NAME": "web", "LABELS": {"app": "web"}}},
         "xds": "/x", "admin": "/a", "records": "/r", "access_log": "/l",
         "source_address": "10.66.0.7", "other_source_address": "fd00::7", "upstream_mark": 2, "workers": 1, "drain_seconds": 5}"#;
        let bootstrap = read(text).expect("it reads");
        assert_eq!(
            (bootstrap.pod(), bootstrap.workload()),
            ("web-7d9f.bank", "web")
        );
        let peer = bootstrap.peer();
        assert_eq!((&*peer.app, &*peer.version), ("web", ""));
    }

    #[test]
    fn a_bad_file_is_refused_with_place_and_reason() {
        let missing = read(r#"{"node": {"id": "a~b~c~d"}}"#).expect_err("xds is missing");
        assert!(
            missing.contains("missing field `xds`") && missing.contains("line 1"),
            "{missing}"
        );
        let id = read(
            r#"{"node": {"id": "x"}, "xds": "", "admin": "", "records": "", "access_log": ""}"#,
        );
        assert!(
            id.expect_err("bad id")
                .contains("KIND~IP~NAME.NAMESPACE~DOMAIN")
        );
    }
}
