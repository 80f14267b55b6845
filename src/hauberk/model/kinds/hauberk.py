"""Kinds of our own."""

from hauberk.model.admission.mesh_config import admit_mesh_config
from hauberk.model.hauberk.mesh_config import MeshConfig
from hauberk.model.kinds.definition import define

HAUBERK = "hauberk.io"

MESH_CONFIG = define(MeshConfig, HAUBERK, "v1", "meshconfigs", namespaced=False, admit=admit_mesh_config)

KINDS = (MESH_CONFIG,)
