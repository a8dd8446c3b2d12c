"""The two listeners of a control plane: the page with its API, and health and metrics on another port."""

from typing import Final

from aiohttp import web

from controlplane.settings import Settings

SHUTDOWN_S: Final = 4.0


class Listeners:
    """Opens both applications and closes them again, letting requests in flight finish for at most 4 seconds."""

    def __init__(self, page_app: web.Application, admin_app: web.Application) -> None:
        self._page = web.AppRunner(page_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._admin = web.AppRunner(admin_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self.page_url = ""
        self.admin_url = ""

    async def open(self, settings: Settings) -> None:
        """Listen; port 0 takes a free one, which `page_url` and `admin_url` then tell."""
        await self._page.setup()
        await self._admin.setup()
        try:
            self.admin_url = await _listen(self._admin, settings.control_admin_host, settings.control_admin_port)
            self.page_url = await _listen(self._page, settings.control_host, settings.control_port)
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Accept nothing new, finish what is in flight, close."""
        await self._page.cleanup()
        await self._admin.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    known = len(runner.addresses)
    await web.TCPSite(runner, host, port).start()
    address = runner.addresses[known]
    return f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"
