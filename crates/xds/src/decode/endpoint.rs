//! Endpoints. Ignored by design: health check settings and proximity.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use hauberk_config::endpoint::{
    ClusterLoadAssignment, Endpoint, EndpointAddress, Health, Locality, LocalityEndpoints, Workload,
};

use super::value::{metadata_string, metadata_strings, number, port};
use super::{At, Decoded, required};

const OVERPROVISIONING: u32 = 140;

pub fn load_assignment(told: &endpoint::ClusterLoadAssignment) -> Decoded<ClusterLoadAssignment> {
    let localities = told
        .endpoints
        .iter()
        .enumerate()
        .map(|(index, locality)| locality_endpoints(locality).at(&format!("endpoints[{index}]")))
        .collect::<Decoded<_>>()?;
    let factor = told
        .policy
        .as_ref()
        .and_then(|policy| number(policy.overprovisioning_factor.as_ref()));
    Ok(ClusterLoadAssignment {
        cluster: told.cluster_name.as_str().into(),
        localities,
        overprovisioning_factor: factor.unwrap_or(OVERPROVISIONING),
    })
}

fn locality_endpoints(told: &endpoint::LocalityLbEndpoints) -> Decoded<LocalityEndpoints> {
    let locality = told.locality.clone().unwrap_or_default();
    Ok(LocalityEndpoints {
        locality: Locality {
            region: locality.region,
            zone: locality.zone,
            sub_zone: locality.sub_zone,
        },
        priority: told.priority,
        weight: number(told.load_balancing_weight.as_ref()),
        endpoints: told
            .lb_endpoints
            .iter()
            .enumerate()
            .map(|(index, one)| lb_endpoint(one).at(&format!("lb_endpoints[{index}]")))
            .collect::<Decoded<_>>()?,
    })
}

fn lb_endpoint(told: &endpoint::LbEndpoint) -> Decoded<Endpoint> {
    let Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(host)) = &told.host_identifier else {
        return Err("expected an endpoint, found none or a name".into());
    };
    let metadata = told.metadata.as_ref();
    let workload = metadata_string(metadata, "istio", "workload");
    Ok(Endpoint {
        address: address(host.address.as_ref())?,
        hostname: host.hostname.clone(),
        weight: number(told.load_balancing_weight.as_ref())
            .unwrap_or(1)
            .max(1),
        health: health(told.health_status)?,
        transport_labels: metadata_strings(metadata, "envoy.transport_socket_match"),
        subset_labels: metadata_strings(metadata, "envoy.lb"),
        workload: (!workload.is_empty()).then(|| Workload::parse(&workload)),
    })
}

fn address(told: Option<&core::Address>) -> Decoded<EndpointAddress> {
    match required(told, "address")?.address.as_ref() {
        Some(core::address::Address::SocketAddress(socket)) => {
            let port = port(socket)?;
            Ok(match socket.address.parse() {
                Ok(ip) => EndpointAddress::Socket(std::net::SocketAddr::new(ip, port)),
                Err(_) => EndpointAddress::Name {
                    host: socket.address.clone(),
                    port,
                },
            })
        }
        Some(core::address::Address::Pipe(pipe)) => Ok(EndpointAddress::Pipe(pipe.path.clone())),
        other => Err(format!(
            "address: expected a socket address or a pipe, found {other:?}"
        )),
    }
}

fn health(told: i32) -> Decoded<Health> {
    use core::HealthStatus as H;
    match H::try_from(told) {
        Ok(H::Unknown) => Ok(Health::Unknown),
        Ok(H::Healthy) => Ok(Health::Healthy),
        Ok(H::Unhealthy) => Ok(Health::Unhealthy),
        Ok(H::Draining) => Ok(Health::Draining),
        Ok(H::Timeout) => Ok(Health::Timeout),
        Ok(H::Degraded) => Ok(Health::Degraded),
        Err(_) => Err(format!("health_status: expected a known one, found {told}")),
    }
}
