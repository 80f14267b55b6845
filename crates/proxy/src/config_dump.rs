//! What runs, in the frame of Envoy's `/config_dump`: the same kinds, states and versions, so that one reader does for
//! both. A resource itself is shown as this proxy has understood it. Secrets show names only.

use std::sync::Arc;

use hauberk_config::{Entry, Refusal, Snapshot, Table};
use hauberk_telemetry::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `refused`: the last snapshot that the control plane's client made, which may be newer than what runs.
pub fn config_dump(running: &Snapshot, told: &Snapshot) -> Value {
    let section = |kind: &str, resource: &str, key: &str, entries: Vec<Value>| {
        let mut section = Map::new();
        let name = format!("type.googleapis.com/envoy.admin.v3.{kind}ConfigDump");
        section.insert("@type".into(), name.into());
        section.insert(key.into(), entries.into());
        if let Some(refusal) = told.refused.get(resource) {
            section.insert("error_state".into(), refused(refusal));
        }
        Value::Object(section)
    };
    let listeners = entries(&running.listeners, |name, entry| {
        json!({"name": name, "active_state": {
            "version_info": &*entry.version,
            "listener": readable(&*entry.value),
        }})
    });
    let clusters = entries(
        &running.clusters,
        |_, entry| json!({"version_info": &*entry.version, "cluster": readable(&*entry.value)}),
    );
    let routes = entries(
        &running.routes,
        |_, entry| json!({"version_info": &*entry.version, "route_config": readable(&*entry.value)}),
    );
    let endpoints = entries(
        &running.endpoints,
        |_, entry| json!({"version_info": &*entry.version, "endpoint_config": readable(&*entry.value)}),
    );
    let secrets = entries(
        &running.secrets,
        |name, entry| json!({"name": name, "version_info": &*entry.version, "secret": {"name": name}}),
    );
    let v3 = |package: &str| format!("envoy.{package}");
    json!({"generation": running.generation, "configs": [
        section("Listeners", &v3("config.listener.v3.Listener"), "dynamic_listeners", listeners),
        section("Clusters", &v3("config.cluster.v3.Cluster"), "dynamic_active_clusters", clusters),
        section("Routes", &v3("config.route.v3.RouteConfiguration"), "dynamic_route_configs", routes),
        section("Endpoints", &v3("config.endpoint.v3.ClusterLoadAssignment"), "dynamic_endpoint_configs", endpoints),
        section("Secrets", &v3("extensions.transport_sockets.tls.v3.Secret"), "dynamic_active_secrets", secrets),
    ]})
}

fn refused(refusal: &Refusal) -> Value {
    let time = Timestamp(refusal.time).to_string();
    json!({"details": refusal.reason, "last_update_attempt": time})
}

/// By name.
fn entries<T>(table: &Table<T>, show: impl Fn(&str, &Entry<T>) -> Value) -> Vec<Value> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| Arc::clone(name));
    let shown = entries.into_iter().map(|(name, entry)| show(name, entry));
    shown.collect()
}

/// With durations as Protocol Buffers write them in JSON: `1.500s`.
fn readable(resource: &impl Serialize) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(walk),
            Value::Object(fields) => {
                let number = |name: &str| fields.get(name).and_then(Value::as_u64);
                if let (2, Some(seconds), Some(nanos)) =
                    (fields.len(), number("secs"), number("nanos"))
                {
                    *value = format!("{seconds}.{:03}s", nanos / 1_000_000).into();
                    return;
                }
                fields.values_mut().for_each(walk);
            }
            _ => {}
        }
    }
    match serde_json::to_value(resource) {
        Ok(mut value) => {
            walk(&mut value);
            value
        }
        Err(error) => json!({"unprintable": error.to_string()}),
    }
}
