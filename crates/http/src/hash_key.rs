//! What consistent hashing goes by: the route's hash policies, put together as Envoy does.

use std::net::SocketAddr;
use std::time::Duration;

use hauberk_config::route::{HashPolicy, HashSource};
use hauberk_upstream::hash;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Uri};

/// A key, and the cookie by which the caller comes back to the same host.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HashKey {
    /// `None`: no policy found anything, so any host will do.
    pub key: Option<u64>,
    pub cookie: Option<HeaderValue>,
}

impl HashKey {
    pub fn of<B>(
        policies: &[HashPolicy],
        request: &Request<B>,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Self {
        let mut found = Self::default();
        for policy in policies {
            let one = match &policy.source {
                HashSource::Header(name) => header_hash(request.headers(), name),
                HashSource::SourceIp => Some(hash(from.ip().to_string().as_bytes(), 0)),
                HashSource::QueryParameter(name) => {
                    query(request.uri(), name).map(|value| hash(value.as_bytes(), 0))
                }
                HashSource::Cookie {
                    name,
                    time_to_live,
                    path,
                    attributes,
                } => match cookie(request.headers(), name) {
                    Some(value) => Some(hash(value.as_bytes(), 0)),
                    // Without a lifetime the program sets the cookie, not the proxy.
                    None => time_to_live.map(|lifetime| {
                        let value = format!("{:016x}", hash(format!("{from}{to}").as_bytes(), 0));
                        let sum = hash(value.as_bytes(), 0);
                        found.cookie = set_cookie(name, &value, lifetime, path, attributes);
                        sum
                    }),
                },
            };
            if let Some(one) = one {
                found.key = Some(found.key.map_or(one, |before| before.rotate_left(1) ^ one));
            }
            if policy.terminal && found.key.is_some() {
                break;
            }
        }
        found
    }
}

/// Several fields of one name count in any order.
fn header_hash(headers: &HeaderMap, name: &str) -> Option<u64> {
    let mut values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    values.sort_unstable();
    let first = hash(values.first()?, 0);
    Some(
        values[1..]
            .iter()
            .fold(first, |sum, value| hash(value, sum)),
    )
}

fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value)
    })
}

/// RFC 6265 §4.2.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(header::COOKIE).iter().find_map(|line| {
        line.to_str().ok()?.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    })
}

fn set_cookie(
    name: &str,
    value: &str,
    lifetime: Duration,
    path: &str,
    attributes: &[(String, String)],
) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    if !lifetime.is_zero() {
        text.push_str(&format!("; Max-Age={}", lifetime.as_secs()));
    }
    if !path.is_empty() {
        text.push_str(&format!("; Path={path}"));
    }
    for (name, value) in attributes {
        text.push_str("; ");
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text.push_str("; HttpOnly");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    fn policy(source: HashSource) -> HashPolicy {
        HashPolicy {
            source,
            terminal: false,
        }
    }

    fn request(name: &str, value: &str) -> Request<()> {
        let built = Request::builder()
            .uri("/?user=7")
            .header(name, value)
            .body(());
        built.unwrap_or_default()
    }

    fn of(source: HashSource, request: &Request<()>) -> HashKey {
        HashKey::of(&[policy(source)], request, FROM, FROM)
    }

    #[test]
    fn each_source_is_found_or_gives_nothing() {
        let header = || HashSource::Header("x-user".into());
        let one = of(header(), &request("x-user", "a"));
        assert!(one.key.is_some() && one == of(header(), &request("x-user", "a")));
        assert_ne!(one, of(header(), &request("x-user", "b")));
        assert_eq!(of(header(), &request("x-other", "a")).key, None);
        assert!(of(HashSource::SourceIp, &request("a", "b")).key.is_some());
        let query = HashSource::QueryParameter("user".into());
        assert!(of(query, &request("a", "b")).key.is_some());
    }

    #[test]
    fn a_cookie_is_set_once_and_leads_back() {
        let source = |time_to_live| HashSource::Cookie {
            name: "place".into(),
            time_to_live,
            path: "/shop".into(),
            attributes: vec![
                ("SameSite".into(), "Lax".into()),
                ("Secure".into(), String::new()),
            ],
        };
        let minute = Some(Duration::from_secs(60));
        let first = of(source(minute), &request("a", "b"));
        let cookie = first
            .cookie
            .as_ref()
            .map(|cookie| cookie.to_str().unwrap_or_default());
        let cookie = cookie.unwrap_or_default();
        assert!(
            cookie.ends_with("; Max-Age=60; Path=/shop; SameSite=Lax; Secure; HttpOnly"),
            "{cookie}"
        );
        let sent = cookie.split(';').next().unwrap_or_default();
        let again = of(source(minute), &request("cookie", &format!("x=1; {sent}")));
        assert_eq!((again.key, again.cookie), (first.key, None));
        assert_eq!(of(source(None), &request("a", "b")), HashKey::default());
    }
}
