"""The data plane: one asyncio process beside an app that answers decisions over localhost."""
