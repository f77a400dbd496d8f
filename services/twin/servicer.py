"""TwinService: what the assets are, their newest states, and each new one."""

from collections.abc import AsyncIterator
from uuid import uuid4

from uem.services.bus import LatestBus
from uem.services.pages import page_of
from uem.services.status import Context, errors_as_status
from uem.services.twin import convert
from uem.services.twin.layout import layout
from uem.services.twin.worker import Published
from uem.twin_core.errors import UnknownName
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Territory
from uem.twin_core.twin import AssetTwin
from uem.v1 import twin_pb2 as pb
from uem.v1 import twin_pb2_grpc
from uem.v1.columns import Columnar

MOST_PAGE = 1000
USUAL_PAGE = 100


class TwinServicer(twin_pb2_grpc.TwinServiceServicer):
    """Translates; states come from the bus."""

    def __init__(self, territory: Territory, twins: tuple[AssetTwin, ...], states: LatestBus[Published]) -> None:
        signals = {twin.name: twin.signals for twin in twins}
        followed = [asset for asset in territory.assets if asset.name in signals]
        self._assets = {asset.name: convert.asset(asset, signals[asset.name]) for asset in followed}
        self._layouts = {
            asset.name: layout(asset, territory.factories) for asset in followed if isinstance(asset, Network)
        }
        self._states = states
        self._run_id = uuid4().hex

    async def GetAsset(self, request: pb.GetAssetRequest, context: Context) -> pb.GetAssetResponse:
        """One asset and its newest state, which is absent as long as there is none."""
        async with errors_as_status(context):
            asset = self._known(request.asset)
            published = self._states.latest(request.asset)
            state = None
            if published is not None:
                state = convert.state(published, asset.signals_revision, self._run_id)
            return pb.GetAssetResponse(asset=asset, state=state)

    async def ListAssets(self, request: pb.ListAssetsRequest, context: Context) -> pb.ListAssetsResponse:
        """Assets that have a twin, in the order of the territory."""
        async with errors_as_status(context):
            page, following = page_of(
                list(self._assets), request.page_size, request.page_token, usual=USUAL_PAGE, most=MOST_PAGE
            )
            return pb.ListAssetsResponse(assets=[self._assets[name] for name in page], next_page_token=following)

    async def WatchState(  # type: ignore[override]  # columns beside their message
        self, request: pb.WatchStateRequest, context: Context
    ) -> AsyncIterator[Columnar[pb.WatchStateResponse]]:
        """The states of now, then each new one; the newest only for a reader that falls behind."""
        async with errors_as_status(context):
            names = [self._known(name).name for name in request.assets]
            subscription = self._states.subscribe(names)
            try:
                async for update in subscription:
                    revision = self._assets[update.key].signals_revision
                    yield convert.update(update.value, update.missed, revision, self._run_id)
            finally:
                subscription.close()

    async def GetNetwork(self, request: pb.GetNetworkRequest, context: Context) -> pb.GetNetworkResponse:
        """How a network is laid out; UnknownName lists the networks for anything else."""
        async with errors_as_status(context):
            try:
                return self._layouts[request.asset]
            except KeyError:
                raise UnknownName("network", request.asset, self._layouts) from None

    def _known(self, name: str) -> pb.Asset:
        try:
            return self._assets[name]
        except KeyError:
            raise UnknownName("asset", name, self._assets) from None
