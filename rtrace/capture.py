"""A capture as documented DataFrames.

Each property's docstring is the documentation of its columns, in lines that `rtrace.columns` reads:

    name (dtype; unit): what it is [source]

Times are nanoseconds of CLOCK_BOOTTIME; NA and None mean "not known". A process is the string
"tgid:start_ns", the index of `processes`. The columns of sources name events of bpf/events.h
(FORK, EXEC, EXIT ...), files of /proc, or the module that concludes it from those.
"""

from __future__ import annotations

from functools import cached_property
from os import PathLike

import pandas as pd

from analysis import model
from analysis.frames.containers import df_calls, df_daemons, df_runs
from analysis.frames.history import df_execs, df_signals
from analysis.frames.processes import with_ends
from analysis.frames.story import df_findings, df_timeline
from analysis.progress import Tell
from rtrace.columns import Column, read_columns

# Frames in the order of the documentation.
FRAMES = (
    "processes",
    "parents",
    "reparents",
    "execs",
    "signals",
    "containers",
    "calls",
    "daemons",
    "timeline",
    "findings",
    "losses",
)


class Capture(model.Capture):
    """An open capture. Each frame is computed when it is first asked for, and kept."""

    @cached_property
    def processes(self) -> pd.DataFrame:
        """Every process that the capture names, those born in it first, by birth.

        The index is `id`, the string "tgid:start_ns". Those that no event of their own tells of
        (`stub`) are there because others refer to them.

        Columns:
            tgid (int64; id): process id in the initial pid namespace [all events]
            start_ns (int64; ns): when it was made, by the kernel's own record, also of those that
                are older than the recording [task start_boottime]
            ns_tgid (Int32; id): process id in its own pid namespace [FORK, EXEC, snapshot]
            pidns (Int64; inode): its pid namespace, 0: the initial one [FORK, EXEC, snapshot]
            comm (object; text): name, as the kernel last had it, cut at 15 bytes; "": not known
                [EXIT, COMM, snapshot]
            filename (object; path): what it ran last, or was born with
                [EXEC details, /proc/PID/exe]
            args (object; tuple of text): its arguments; (): not known
                [EXEC details, /proc/PID/cmdline]
            cgroup (object; path): in the v2 hierarchy, "": there is none
                [EXEC and ATTACH details, /proc/PID/cgroup]
            cgroup_v1 (object; path): in the v1 pids or memory hierarchy
                [EXEC and ATTACH details, /proc/PID/cgroup]
            fork_ns (Int64; ns): birth; NA: before what is kept, or lost [FORK]
            seen_ns (int64; ns): first time that anything was heard of it [all events]
            exit_ns (Int64; ns): its last thread ended; NA: not seen [EXIT]
            exit_code (Int32; wait status): what wait() reports [EXIT, REAP]
            exit_status (Int16; number): of exit(), 0 where a signal ended it [exit_code]
            exit_signal (Int16; signal): that ended it; 0: none did [exit_code]
            core (bool; flag): it dumped core [exit_code]
            reap_ns (Int64; ns): it was released after wait(); up to 15 ms late [REAP]
            gone_ns (Int64; ns): by when it had ended, where exit_ns is not known
                [REAP, snapshot]
            forker (object; process): who called clone(); the parent is another with CLONE_PARENT
                [FORK]
            subreaper_ns (Int64; ns): first seen as a subreaper [SUBREAPER, snapshot]
            stub (bool; flag): known only by what refers to it [all events]
            kthread (bool; flag): kernel thread [task flags]
            ns_init (bool; flag): process 1 of a pid namespace [task flags]
            execs (int64; count): execs that were recorded [EXEC]
            role (object; token): what part it plays, see docs/report-json.md [analysis.roles]
            container (object; container): that it is in, or that it serves as shim, runc, crun or
                conmon; None: neither [analysis.membership]
            unit (object; systemd unit): innermost unit of its cgroup; None: none, or it is in a
                container [cgroup, cgroup_v1]
            lifetime_ns (Int64; ns): from start_ns to exit_ns [start_ns, exit_ns]
            zombie_from_ns (Int64; ns): from here on it waited to be reaped [exit_ns]
            zombie_until_ns (Int64; ns): until here; NA: nobody waited for it, or its REAP was not
                recorded [reap_ns]
            reaped_by (object; process): its parent when it was reaped, which waited for it (or
                ignores SIGCHLD: then the kernel did); NA in both: as above [parents]
            reaped_certainty (object; token): how sure that is, as of parents; inferred where it was
                adopted about when it ended [parents]
        """
        return with_ends(super().processes, self.scene)

    @cached_property
    def parents(self) -> pd.DataFrame:
        """Whose child each process was over time: one row an interval, by child and time.

        Columns:
            child (object; process): whose parent it is about [FORK, REPARENT, snapshot]
            parent (object; process): None: not known [FORK, REPARENT, REAPER, snapshot]
            from_ns (int64; ns): birth, first sight, or exit of the parent before
                [FORK, EXIT, snapshot]
            settled_ns (Int64; ns): by when the parent was surely this one; NA: never observed
                [REAPER, SIGNAL, snapshot]
            until_ns (Int64; ns): the next interval begins, or the child was reaped, or its parent
                left it as a zombie; NA: open [REPARENT, REAP]
            how (object; token): fork, snapshot, or the rule that gave it this parent: thread,
                subreaper, init, unknown [analysis.parents]
            certainty (object; token): confirmed (observed), predicted (by the kernel's rule),
                inferred (from what came later), unknown [analysis.parents]
            child_no (int32; row): row of the child in processes [child]
            parent_no (int32; row): row of the parent in processes, -1: not known [parent]
        """
        return super().parents

    @cached_property
    def reparents(self) -> pd.DataFrame:
        """Every change of a parent, by time.

        Columns:
            ts_ns (int64; ns): exit of the old parent, or of its thread [REPARENT]
            until_ns (Int64; ns): by when the new parent was observed; NA: never
                [REAPER, SIGNAL, snapshot]
            child (object; process): who was adopted [REPARENT]
            from_ (object; process): old parent [REPARENT]
            to (object; process): new parent; None: not known [REPARENT, REAPER]
            from_tid (Int64; id): thread that exited [REPARENT]
            to_tid (Int64; id): thread that adopted [REAPER]
            reason (object; token): rule of find_new_reaper(): thread (from_ is to), subreaper,
                init, unknown [REPARENT, REAPER]
            certainty (object; token): as in parents [analysis.parents]
            evidence (object; token): what that rests on, see docs/reparenting.md
                [analysis.hops]
            child_no (int32; row): row of the child in processes [child]
            from_no (int32; row): row of the old parent in processes [from_]
            to_no (int32; row): row of the new parent in processes, -1: not known [to]
            step (int64; number): order of the moves of one child [analysis.parents]
        """
        return super().reparents

    @cached_property
    def execs(self) -> pd.DataFrame:
        """What each process executed: one row an exec, or an image that only /proc showed.

        By process, then time. A process that never called exec has no row: it runs what its
        forker ran.

        Columns:
            process (object; process): who [EXEC]
            ts_ns (Int64; ns): when; NA: before what is kept [EXEC]
            until_ns (Int64; ns): its next exec, or its exit; NA: to the end [EXEC, EXIT]
            recorded (bool; flag): the exec itself was; else /proc showed the image [EXEC]
            filename (object; path): as given to execve(), or /proc/PID/exe; "": lost
                [EXEC details, /proc/PID/exe]
            args (object; tuple of text): argv; (): lost, or not recorded
                [EXEC details, /proc/PID/cmdline]
            program (object; token): role of such a program alone, "other" if it is of no runtime
                [filename, args]
            verb (object; text): of runc, crun, docker, ctr, podman, shims ("create"); None: none
                [args]
            container (object; container): that the process is in or serves; None: none
                [analysis.membership]
        """
        return df_execs(self.scene)

    @cached_property
    def signals(self) -> pd.DataFrame:
        """Signals that can end a process, one row each, by time; not SIGCHLD and SIGURG.

        Columns:
            ts_ns (int64; ns): when it was made [SIGNAL]
            target (object; process): whom it is for [SIGNAL]
            sender (object; process): who sent it; None: the kernel did, or it is not known
                [SIGNAL]
            context (object; process): in whose context the kernel made it, who did not send it;
                None where a process sent it [SIGNAL]
            signal (int64; signal): its number [SIGNAL]
            name (object; text): SIGKILL and so on [signal]
            kind (object; token): process, parent-death, pid-namespace-end, kernel-call, kernel
                [SIGNAL si_code, context]
            result (object; token): delivered, ignored, already-pending, queue-full, info-lost
                [SIGNAL]
            to_process (bool; flag): to the whole process, not to one thread [SIGNAL]
            target_tid (int64; id): thread that it was for [SIGNAL]
            sender_tid (Int64; id): thread in whose context it was made [SIGNAL]
            fatal (bool; flag): the target ended by it: the first SIGKILL, or the last of another
                kind [SIGNAL, EXIT]
        """
        return df_signals(self.scene)

    @cached_property
    def containers(self) -> pd.DataFrame:
        """Lives of containers: one row a run, by the container's first sign, then time.

        A restart gives a container one more run. A container of which no process was seen has
        one row with run 0. Times are NA where they were not seen.

        Columns:
            container (object; container): its id [shim and runc arguments, cgroup, recorder]
            name (object; text): None: not known [config.v2.json, docker's API, arguments]
            image (object; text): None: not known [config.v2.json, docker's API]
            runtime (object; token): docker, containerd, podman, cri, unknown
                [analysis.membership]
            namespace (object; text): containerd's; None: none or not known [shim arguments]
            run (int64; number): 1, 2 ... in order of time [analysis.containers]
            client (object; process): docker, ctr or podman command that asked for it
                [analysis.clients]
            daemon (object; process): dockerd [analysis.containers]
            manager (object; process): containerd; podman for conmon [analysis.containers]
            starter (object; process): the v2 shim's short-lived parent [FORK]
            shim (object; process): the shim, or conmon [FORK, arguments]
            create (object; process): the call of runc create [EXEC]
            init (object; process): process 1 [FORK, EXEC]
            how (object; token): how process 1 ended: exited, killed, running, not-seen
                [EXIT, snapshot]
            exit_status (Int64; number): of process 1, NA where a signal ended it [EXIT]
            exit_signal (Int64; signal): that ended process 1; NA: it exited [EXIT]
            client_ns (Int64; ns): exec of the client [EXEC]
            shim_start_ns (Int64; ns): fork of the v2 shim's short-lived parent [FORK]
            shim_ns (Int64; ns): fork of the shim [FORK]
            create_ns (Int64; ns): exec of runc create [EXEC]
            init_ns (Int64; ns): fork of process 1 [FORK]
            create_exit_ns (Int64; ns): exit of runc create [EXIT]
            adoption_ns (Int64; ns): process 1 lost runc as its parent [REPARENT]
            start_ns (Int64; ns): exec of runc start [EXEC]
            workload_ns (Int64; ns): first exec of process 1 that is not runc's [EXEC]
            exit_ns (Int64; ns): exit of process 1 [EXIT]
            reap_ns (Int64; ns): process 1 was waited for; up to 15 ms late [REAP]
            shim_exit_ns (Int64; ns): exit of the shim [EXIT]
            runs (int64; count): runs that the container has in all [analysis.containers]
            began (object; token): recorded, before (what is kept), not-seen (its fork was lost)
                [FORK]
            calls (int64; count): calls of runc or crun in this run [EXEC]
            execs (int64; count): of them those of runc exec [EXEC]
            cause (object; token): what ended process 1: kind as in signals, or oom; None: it
                exited, or the signal was not recorded [SIGNAL, OOM]
            killed_by (object; process): who sent the signal; None: nobody, or not known [SIGNAL]
            end (object; text): how process 1 ended and by whom, in words [EXIT, SIGNAL, OOM]
            shim_how (object; token): how the shim ended, as how; None: no shim is known
                [EXIT, snapshot]
        """
        return df_runs(self.scene, self.container_list)

    @cached_property
    def calls(self) -> pd.DataFrame:
        """Calls of runc or crun, one row each, by container, run and time.

        Columns:
            container (object; container): that it is for [arguments]
            run (int64; number): of the container, as in containers [analysis.containers]
            ts_ns (Int64; ns): exec of the call; NA: before what is kept [EXEC]
            process (object; process): runc or crun [EXEC]
            verb (object; text): create, start, exec, kill, delete ...; None: not known
                [arguments]
            argument (object; text): signal of a kill; None: none [arguments]
            exit_ns (Int64; ns): the call ended [EXIT]
            exit_status (Int64; number): NA where a signal ended it [EXIT]
            exit_signal (Int64; signal): that ended it; NA: it exited [EXIT]
            exec_process (object; process): of exec: whom it brought into the container
                [FORK, EXEC]
            exec_exit_ns (Int64; ns): that process ended [EXIT]
            exec_status (Int64; number): with this status [EXIT]
            exec_signal (Int64; signal): or by this signal [EXIT]
        """
        return df_calls(self.scene, self.container_list)

    @cached_property
    def daemons(self) -> pd.DataFrame:
        """dockerd, containerd, kubelet, cri-dockerd, and inits that came or went, by birth.

        Columns:
            process (object; process): the daemon [EXEC, snapshot]
            role (object; token): as in processes [analysis.roles]
            unit (object; systemd unit): None: in none [cgroup]
            began_ns (Int64; ns): when it executed its program; NA: before, or not seen
                [EXEC, FORK]
            starter (object; process): who forked it [FORK]
            former (object; process): the daemon whose place it took; None: none is known
                [analysis.host_story]
            how (object; token): how it ended, as in containers [EXIT, snapshot]
            exit_ns (Int64; ns): when; NA: it did not, or that was not seen [EXIT]
            end (object; text): how it ended and by whom, in words [EXIT, SIGNAL, OOM]
        """
        return df_daemons(self.scene)

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """What happened, in words, by time: the steps of all containers and of the host.

        What comes again and again is summed up by a step of kind "fold"; the steps in it are
        there too. The short story is ``t[t["fold"].isna() | (t["kind"] == "fold")]``.

        Columns:
            ts_ns (int64; ns): when [events]
            wall (datetime64[ns, UTC]; UTC): wall clock then; NaT: not known [clock readings]
            container (object; container): None: of the host [analysis.timeline]
            kind (object; token): see docs/report-json.md [analysis.timeline]
            text (object; text): the step [analysis.timeline]
            certainty (object; token): of adoptions, the least sure one; None: of others
                [analysis.parents]
            main (bool; flag): a workload started, process 1 or a shim or a daemon ended
                [analysis.timeline]
            fold (Int64; number): of the fold that sums it up, or that it is [analysis.folds]
            count (Int64; count): of a fold: how many it sums up [analysis.folds]
            until_ns (Int64; ns): of a fold: its last step [analysis.folds]
            processes (object; tuple of processes): whom it is about [events]
            evidence (object; tuple of references): (event, ts_ns, process) of what it rests on;
                `rtrace dump` shows them [events]
        """
        return df_timeline(self)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """What is wrong, or only looks so: the gravest first, then by time.

        Columns:
            kind (object; token): see docs/report-json.md [analysis.findings]
            severity (object; token): error, warning, info [analysis.findings]
            text (object; text): one sentence [analysis.findings]
            next (object; text): what to look at next [analysis.findings]
            ts_ns (int64; ns): when it came to that, or was seen [events, snapshot]
            wall (datetime64[ns, UTC]; UTC): wall clock then; NaT: not known [clock readings]
            certainty (object; token): as in parents; inferred where events were lost
                [analysis.findings]
            container (object; container): None: it is about none [analysis.findings]
            processes (object; tuple of processes): whom it is about, 20 at most
                [analysis.findings]
            evidence (object; tuple of references): as in timeline, 20 at most
                [analysis.findings]
        """
        return df_findings(self)

    @cached_property
    def losses(self) -> pd.DataFrame:
        """Windows in which records were lost; what happened there may be missing elsewhere.

        Columns:
            from_ns (int64; ns): the last record before [cpu_lost of all records]
            to_ns (int64; ns): the first record after [cpu_lost of all records]
            cpu (int64; number): on which CPU [cpu_lost of all records]
            events (int64; count): lost events [cpu_lost of all records, LOSS]
            details (int64; count): lost details: arguments, cgroups [cpu_lost of details, LOSS]
        """
        return self.table.losses

    def columns(self, frame: str) -> pd.DataFrame:
        """Documentation of a frame's columns: dtype, unit, what, source; by name.

        Args:
            frame: one of FRAMES, such as "processes".

        Raises:
            KeyError: there is no such frame.
        """
        return pd.DataFrame(documentation(frame), dtype=object).set_index("name")


def documentation(frame: str) -> list[Column]:
    """Same, as the docstring has it."""
    if frame not in FRAMES:
        raise KeyError(f"no frame {frame!r}: there are {', '.join(FRAMES)}")
    return read_columns(getattr(Capture, frame).__doc__ or "")


def open_capture(path: str | PathLike[str], on_progress: Tell | None = None) -> Capture:
    """Open a capture for analysis.

    Args:
        on_progress: called now and then with what is being done, in words, and the share of all
            work that is done, 0 to 1; also later, when what is asked for is found.

    Raises:
        CaptureError: not a capture, or of a newer schema. A cut or damaged one is read as
            far as it goes; see ``table.complete`` and ``table.damage``.
    """
    return Capture(*model.read(path, on_progress))
