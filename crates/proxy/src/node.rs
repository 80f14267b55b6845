//! Who this proxy says it is, in the control plane's words.

use hauberk_xds::{Kind, Struct, Value};

use crate::bootstrap::Node;

/// The node of the bootstrap file as xDS has it.
pub fn of(node: &Node) -> hauberk_xds::Node {
    hauberk_xds::Node {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        metadata: Some(Struct {
            fields: node
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), convert(value)))
                .collect(),
        }),
        user_agent_name: "hauberk-proxy".into(),
        ..Default::default()
    }
}

fn convert(value: &serde_json::Value) -> Value {
    use serde_json::Value as J;
    let kind = match value {
        J::Null => Kind::NullValue(0),
        J::Bool(value) => Kind::BoolValue(*value),
        J::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        J::String(text) => Kind::StringValue(text.clone()),
        J::Array(values) => Kind::ListValue(envoy_list(values.iter().map(convert).collect())),
        J::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .iter()
                .map(|(key, value)| (key.clone(), convert(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

fn envoy_list(values: Vec<Value>) -> hauberk_xds::ListValue {
    hauberk_xds::ListValue { values }
}
