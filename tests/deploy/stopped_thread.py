"""Stops one thread of another process, as a disk that does not answer would."""
import contextlib
import ctypes
import glob
import os
import time

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "a thread cannot be stopped with ptrace")


def processor_time(task):
    """Returns the ticks of the processor that a thread has used."""
    with open(task + "/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def busiest_thread(process):
    """Returns the thread that has used the most of the processor within a second."""
    tasks = glob.glob(f"/proc/{process}/task/*")
    before = {task: processor_time(task) for task in tasks}
    time.sleep(1)
    return int(os.path.basename(max(tasks, key=lambda task: processor_time(task) - before[task])))


@contextlib.contextmanager
def stopped_thread(thread):
    """Raises PermissionError where ptrace is not allowed."""
    ptrace(PTRACE_SEIZE, thread)
    try:
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
        yield
    finally:
        ptrace(PTRACE_DETACH, thread)
