"""Read by the server that binder/start starts: idle kernels make room before Binder's 2 GB are full.

Every notebook that was opened keeps its kernel. Three or four of them need more than 2 GB, and then the system kills
whatever it chooses, in the middle of its work. So while memory is short, the idle kernel that holds the most is shut
down; never by the clock, and never the one used last.
"""

import psutil
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

SHORT = 1.4 * 2**30  # bytes; what is left is for the kernel at work, before the next look


def memory(pid=None):
    """Bytes of a process and its children, by default of the server; what processes share is counted once."""
    total = 0
    try:
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_full_info().pss
    except psutil.Error:  # one ended meanwhile
        pass
    return total


class MakesRoom(AsyncMappingKernelManager):
    """Shuts down idle kernels when memory is short, where the server's own shuts down what was idle for a time."""

    async def cull_kernels(self):
        """Shut down the largest idle kernel if memory is short."""
        by_age = sorted(self.list_kernels(), key=lambda kernel: kernel["last_activity"])
        idle = [kernel["id"] for kernel in by_age[:-1] if kernel["execution_state"] == "idle"]
        if idle and memory() > SHORT:
            largest = max(idle, key=lambda kernel: memory(self.get_kernel(kernel).provisioner.pid))
            self.log.warning("Memory is short: an idle kernel is shut down.")
            await self.shutdown_kernel(largest)


c = get_config()  # noqa: F821, Jupyter gives it
c.ServerApp.kernel_manager_class = MakesRoom
c.MappingKernelManager.cull_interval = 1  # seconds between two looks
c.MappingKernelManager.cull_idle_timeout = 1  # anything but 0 makes the server call cull_kernels
