"""Kinds of our own."""

from hauberk.model.admission.external_processor import admit_external_processor
from hauberk.model.admission.mesh_config import admit_mesh_config
from hauberk.model.admission.rate_limit import admit_rate_limit
from hauberk.model.hauberk.external_processor import ExternalProcessor
from hauberk.model.hauberk.mesh_config import MeshConfig
from hauberk.model.hauberk.rate_limit import RateLimit
from hauberk.model.kinds.definition import define

HAUBERK = "hauberk.io"

MESH_CONFIG = define(MeshConfig, HAUBERK, "v1", "meshconfigs", namespaced=False, admit=admit_mesh_config)

RATE_LIMIT = define(RateLimit, HAUBERK, "v1", "ratelimits", admit=admit_rate_limit)

EXTERNAL_PROCESSOR = define(
    ExternalProcessor, HAUBERK, "v1", "externalprocessors", admit=admit_external_processor
)

KINDS = (MESH_CONFIG, RATE_LIMIT, EXTERNAL_PROCESSOR)
