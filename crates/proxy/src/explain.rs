//! `hauberk-proxy explain`: what a proxy would do with a call. The question is JSON, with the proxy's resources as the
//! control plane sends them; what they mean is read by the same decoder, and answered by the same engine, as in a proxy that
//! runs. This crate's part is to read the question.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hauberk_config::Snapshot;
use hauberk_config::listener::{Direction, Traffic};
use hauberk_http::explain::{Question, explain};
use hauberk_http::program::Program;
use hauberk_xds::offline::{Encoded, snapshot};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    resources: Vec<Resource>,
    question: Call,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    type_url: String,
    name: String,
    /// Base64 of the encoded message.
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// Toward the program of the pod, or from it.
    inbound: bool,
    source: Option<IpAddr>,
    /// Addresses, or (outbound) names; the first counts that is an address or that the proxy's own name server knows.
    destinations: Vec<String>,
    port: u16,
    /// The SPIFFE ID that the caller proves; null: nothing.
    principal: Option<String>,
    server_name: Option<String>,
    server_name_known: bool,
    /// ALPN with mutual TLS, else what the bytes show.
    protocols: Vec<String>,
    /// Null: a TCP connection.
    request: Option<HttpRequest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpRequest {
    method: String,
    /// Path and query.
    target: String,
    authority: String,
    headers: Vec<(String, String)>,
}

/// The answer to a question, both JSON.
///
/// # Errors
/// What is wrong with the question, or why a proxy would refuse the resources.
pub fn answer(question: &str) -> Result<String, String> {
    let asked: Asked =
        serde_json::from_str(question).map_err(|error| format!("question: {error}"))?;
    let resources = asked.resources.into_iter().map(|one| {
        let value = STANDARD.decode(&one.value);
        Ok(Encoded {
            value: value.map_err(|error| format!("resource {}: {error}", one.name))?,
            type_url: one.type_url,
            name: one.name,
        })
    });
    let snapshot = snapshot(resources.collect::<Result<_, String>>()?)?;
    let call = asked.question;
    let all = call
        .destinations
        .iter()
        .map(|destination| match destination.parse() {
            Ok(address) => vec![address],
            Err(_) => resolved(&snapshot, destination),
        });
    let addresses = all
        .into_iter()
        .find(|addresses| !addresses.is_empty())
        .unwrap_or_default();
    let Some(&address) = addresses.first() else {
        let reason = format!(
            "no name server of the mesh knows {}",
            call.destinations.join(" or ")
        );
        return Ok(json!({"allowed": false, "reason": reason}).to_string());
    };
    let destination = SocketAddr::new(address, call.port);
    let program = Program::new(Arc::clone(&snapshot), &Program::default());
    let mut told = explain(&program, &read(call, destination)?);
    if let Value::Object(told) = &mut told {
        told.insert("destination".into(), json!(destination.to_string()));
        told.insert("addresses".into(), json!(addresses));
    }
    Ok(told.to_string())
}

/// What the proxy's name server answers.
fn resolved(snapshot: &Snapshot, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let mut tables = snapshot
        .listeners
        .values()
        .filter_map(|listener| match &listener.traffic {
            Traffic::Dns(table) => table.lookup(&name),
            Traffic::Tcp(_) => None,
        });
    tables
        .next()
        .map_or_else(Vec::new, |record| record.addresses.clone())
}

fn read(call: Call, destination: SocketAddr) -> Result<Question, String> {
    Ok(Question {
        direction: if call.inbound {
            Direction::Inbound
        } else {
            Direction::Outbound
        },
        source: call.source.map(|address| SocketAddr::new(address, 0)),
        destination,
        tls: call.principal.is_some(),
        names: call.principal.map(|name| vec![name]),
        server_name: call.server_name,
        server_name_known: call.server_name_known,
        protocols: call.protocols,
        request: call.request.map(request).transpose()?,
    })
}

fn request(told: HttpRequest) -> Result<Request<()>, String> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(told.method.as_bytes())
        .map_err(|error| format!("method {:?}: {error}", told.method))?;
    *request.uri_mut() = Uri::try_from(&told.target)
        .map_err(|error| format!("target {:?}: {error}", told.target))?;
    let host = ("host".to_owned(), told.authority);
    for (name, value) in std::iter::once(host).chain(told.headers) {
        let value =
            HeaderValue::from_str(&value).map_err(|error| format!("header {name}: {error}"))?;
        let name =
            HeaderName::try_from(&name).map_err(|error| format!("header {name:?}: {error}"))?;
        request.headers_mut().append(name, value);
    }
    Ok(request)
}
