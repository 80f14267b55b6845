//! An authorizer that is asked by HTTP: it gets a request like the caller's, without its body unless that is shown, and
//! allows with status 200.

use bytes::Bytes;
use hauberk_config::external_authorization::HttpAuthorization;
use hauberk_config::matcher::StringMatcher;
use hauberk_route::string_fits;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};

use crate::authorization::{Allowed, AskedRequest, Denied, Verdict};
use crate::mutation::{Action, Mutations};

/// The authorizer's own word for headers that the program must not get.
const REMOVE: &str = "x-envoy-auth-headers-to-remove";
const PARTIAL: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// The question as a request, with `path_and_query` alone as its target. `shown` says which headers it has beside
/// `authorization`.
///
/// # Errors
/// The request's own words do not make a request.
pub fn question(
    asked: &AskedRequest<'_>,
    told: &HttpAuthorization,
    shown: Option<&[StringMatcher]>,
) -> Result<Request<Bytes>, http::Error> {
    let seen = asked.body.as_ref();
    let body = seen.map_or_else(Bytes::new, |seen| Bytes::copy_from_slice(seen.bytes));
    let path = format!("{}{}", told.path_prefix, asked.path);
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(asked.method.as_bytes())?;
    *request.uri_mut() = Uri::try_from(path)?;
    let headers = request.headers_mut();
    for (name, value) in asked.headers {
        let listed = shown.is_some_and(|list| any_fits(list, name));
        let of_message = matches!(*name, header::HOST | header::CONTENT_LENGTH | header::TE);
        if *name == header::AUTHORIZATION || listed && !of_message {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::HOST, HeaderValue::from_str(asked.host)?);
    headers.insert(
        header::CONTENT_LENGTH,
        seen.map_or(0, |seen| seen.bytes.len()).into(),
    );
    if let Some(seen) = seen {
        let partial = if seen.partial { "true" } else { "false" };
        headers.insert(PARTIAL, HeaderValue::from_static(partial));
    }
    for (name, value) in &told.headers_to_add {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
    }
    Ok(request)
}

/// What the authorizer's whole response means.
///
/// # Errors
/// It failed; the request is to be treated as if nobody had answered.
pub fn verdict(response: Response<Bytes>, told: &HttpAuthorization) -> Result<Verdict, String> {
    let status = response.status().as_u16();
    let headers = response.headers();
    match status {
        200 => {
            let mut made = Allowed::default();
            for (matchers, action) in [
                (&told.upstream_headers, Action::Overwrite),
                (&told.upstream_headers_to_append, Action::AppendIfPresent),
            ] {
                copy(headers, &mut made.request, action, |name| {
                    any_fits(matchers, name)
                });
            }
            for listed in headers.get_all(REMOVE) {
                let names = listed.to_str().unwrap_or_default().split(',');
                for name in names.map(str::trim).filter(|name| !name.is_empty()) {
                    made.request.remove(name);
                }
            }
            copy(headers, &mut made.response, Action::Append, |name| {
                any_fits(&told.client_headers_on_success, name)
            });
            Ok(Verdict::Allowed(made))
        }
        500..=599 => Err(format!("the authorizer answered {status}")),
        _ => {
            let mut sent = Mutations::default();
            let always = [header::LOCATION, header::WWW_AUTHENTICATE];
            copy(headers, &mut sent, Action::Append, |name| {
                told.client_headers.is_empty()
                    || always.contains(name)
                    || any_fits(&told.client_headers, name)
            });
            Ok(Verdict::Denied(Denied {
                status,
                headers: sent,
                body: response.into_body(),
            }))
        }
    }
}

/// Headers of one connection or message are no part of the answer, so that leaving them out refuses nothing.
fn copy(
    from: &HeaderMap,
    into: &mut Mutations,
    action: Action,
    wanted: impl Fn(&HeaderName) -> bool,
) {
    let mut seen: Option<&HeaderName> = None;
    for (name, value) in from.iter().filter(|(name, _)| wanted(name)) {
        // Of several values of one name the first overwrites, and the others follow it.
        let action = match (action, seen) {
            (Action::Overwrite, Some(before)) if before == name => Action::Append,
            _ => action,
        };
        let refused = into.refused;
        into.change(name.as_str(), value.as_bytes(), action);
        into.refused = refused;
        seen = Some(name);
    }
}

fn any_fits(matchers: &[StringMatcher], name: &HeaderName) -> bool {
    matchers
        .iter()
        .any(|matcher| string_fits(matcher, name.as_str()))
}
