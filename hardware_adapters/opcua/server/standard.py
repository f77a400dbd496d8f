"""The standard address space, made once in a process: to make it takes as long as all else that starts a server."""

from pathlib import Path
from typing import ClassVar

from asyncua import ua
from asyncua.server.address_space import AttributeValue, NodeData
from asyncua.server.internal_server import InternalServer


class OwnInternalServer(InternalServer):
    """asyncua's, which takes the standard address space from the one that was made first."""

    _made: ClassVar[dict[ua.NodeId, NodeData] | None] = None  # no server runs on it

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:
        """A copy, which the server may change."""
        made = OwnInternalServer._made
        if made is None:
            await super().load_standard_address_space(shelf_file)
            OwnInternalServer._made = made = self.aspace._nodes
        self.aspace._nodes = {node_id: _copied(node) for node_id, node in made.items()}


def _copied(node: NodeData) -> NodeData:
    """Of its own is what asyncua changes in place; it replaces values, and adds to references or takes from them."""
    found = NodeData(node.nodeid)
    for attribute, kept in node.attributes.items():
        assert kept.value is not None
        found.attributes[attribute] = AttributeValue(kept.value)
    found.references = node.references.copy()
    return found
