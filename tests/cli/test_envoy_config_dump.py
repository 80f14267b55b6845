"""An Envoy's own form of what it runs, in the words of our proxy's."""

from hauberk.cli.envoy_config_dump import certificates, is_envoys, sections

PART = "type.googleapis.com/envoy.admin.v3."
DUMP = {
    "configs": [
        {"@type": f"{PART}BootstrapConfigDump", "bootstrap": {"node": {"id": "x"}}},
        {
            "@type": f"{PART}ListenersConfigDump",
            "dynamic_listeners": [
                {
                    "name": "virtualInbound",
                    "active_state": {
                        "version_info": "7",
                        "listener": {
                            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                            "name": "virtualInbound",
                            "metadata": {"filter_metadata": {"hauberk.io": {"service": "web", "policy_revision": "a"}}},
                        },
                    },
                },
                {"name": "late", "warming_state": {"version_info": "8", "listener": {"name": "late"}}},
            ],
        },
        {
            "@type": f"{PART}EndpointsConfigDump",
            "dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "outbound|80||web"}}],
        },
    ]
}  # fmt: skip


def test_what_is_active_is_shown_with_its_version_and_what_records_need_of_it() -> None:
    found = sections(DUMP)
    (listener,) = found["listeners"]
    assert (listener["name"], listener["version"]) == ("virtualInbound", "7")
    assert (listener["service"], listener["policy_revision"]) == ("web", "a")
    assert "@type" not in listener
    assert found["endpoints"] == [{"cluster_name": "outbound|80||web", "version": ""}]
    assert found["clusters"] == found["routes"] == found["secrets"] == []


def test_our_own_form_is_told_apart() -> None:
    assert is_envoys(DUMP)
    assert not is_envoys({"listeners": [], "routes": []})


def test_a_certificate_that_several_contexts_use_is_one() -> None:
    told = {
        "serial_number": "2a",
        "subject_alt_names": [{"uri": "spiffe://cluster.local/ns/a/sa/b"}],
        "valid_from": "2026-01-01T00:00:00Z",
        "expiration_time": "2026-01-01T01:00:00Z",
    }
    shown = certificates(
        {"certificates": [{"cert_chain": [told, {}]}, {"cert_chain": [told]}, {"ca_cert": []}]}
    )
    assert [(each["spiffe_id"], each["serial"]) for each in shown] == [
        ("spiffe://cluster.local/ns/a/sa/b", "2a")
    ]
    assert shown[0]["not_after"] - shown[0]["not_before"] == 3600
