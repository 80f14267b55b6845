"""`outlierDetection` of a traffic policy: endpoints that fail are left out for a while (Istio, "Outlier Detection")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hauberk.mesh.durations import duration

Spec = Mapping[str, Any]


def detect_outliers(cluster: Any, told: Spec) -> None:
    """Rows of failures alone decide: success rates, which Envoy would compare by itself, cannot be told in Istio."""
    outlier = cluster.outlier_detection
    outlier.enforcing_success_rate.value = 0
    outlier.enforcing_local_origin_success_rate.value = 0
    if told.get("interval"):
        outlier.interval.CopyFrom(duration(told["interval"]))
    if told.get("baseEjectionTime"):
        outlier.base_ejection_time.CopyFrom(duration(told["baseEjectionTime"]))
    if told.get("maxEjectionPercent"):
        outlier.max_ejection_percent.value = told["maxEjectionPercent"]
    errors = told.get("consecutive5xxErrors")
    if errors is None:
        errors = told.get("consecutiveErrors")
    if errors is not None:
        outlier.consecutive_5xx.value = errors
        outlier.enforcing_consecutive_5xx.value = 100 if errors else 0
    gateway = told.get("consecutiveGatewayErrors")
    if gateway is not None:
        outlier.consecutive_gateway_failure.value = gateway
        outlier.enforcing_consecutive_gateway_failure.value = 100 if gateway else 0
    if told.get("splitExternalLocalOriginErrors"):
        outlier.split_external_local_origin_errors = True
        local = told.get("consecutiveLocalOriginFailures")
        if local is not None:
            outlier.consecutive_local_origin_failure.value = local
            outlier.enforcing_consecutive_local_origin_failure.value = 100 if local else 0
    cluster.common_lb_config.healthy_panic_threshold.value = float(told.get("minHealthPercent") or 0)


def error_matcher(told: Spec) -> dict[str, Any] | None:
    """What is an error, where status codes are told (`HttpProtocolOptions.OutlierDetection.error_matcher`)."""
    codes = [str(int(code)) for code in told.get("outlierDetectionHttpErrorCodes") or ()]
    if not codes:
        return None
    rules = [
        {
            "http_response_headers_match": {
                "headers": [{"name": ":status", "string_match": {"exact": code}}],
            }
        }
        for code in dict.fromkeys(codes)
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
