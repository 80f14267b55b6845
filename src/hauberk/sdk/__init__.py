"""For programs that the mesh asks: an external authorizer in a few lines.

It needs Python 3.11, grpcio and protobuf (cryptography too for `spiffe_tls`), and nothing else of Hauberk.
"""

from hauberk.sdk.decision import Allow, Decide, Decision, Deny, Request, allow, deny
from hauberk.sdk.serving import serve

__all__ = ["Allow", "Decide", "Decision", "Deny", "Request", "allow", "deny", "serve"]
