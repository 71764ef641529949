// The capture, as the page holds it, and how its times and processes are told.
// A process is a number: its place in the columns of data.processes. Times are ns since the start.

const rtrace = {};

{
  const data = JSON.parse(document.getElementById("capture-data").textContent);
  const processes = data.processes;
  const count = processes.id.length;
  for (const name of ["role", "file", "cgroup"]) {
    const { texts, of } = processes[name];
    processes[name] = of.map((place) => texts[place]);
  }

  // Boot-time to wall clock: by the last reading at or before a time.
  function utc(ns) {
    let offset = data.clocks[0][1];
    for (const [since, value] of data.clocks) {
      if (since <= ns) {
        offset = value;
      }
    }
    return new Date(ns / 1e6 + offset).toISOString().slice(11, 23);
  }

  function seconds(ns, digits = 6) {
    const text = (Math.abs(ns) / 1e9).toFixed(digits);
    return `${ns < 0 ? "-" : "+"}${text}`;
  }

  function span(ns) {
    if (ns < 1e6) {
      return `${Math.round(ns / 1e3)} µs`;
    }
    if (ns < 1e9) {
      return `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;
    }
    return `${(ns / 1e9).toFixed(2)} s`;
  }

  function label(process) {
    return process < 0 ? "not known" : `${processes.name[process]} (${processes.tgid[process]})`;
  }

  // Where the bar of a process begins and ends, and what is known of either end.
  function life(process) {
    const fork = processes.fork[process];
    const exit = processes.exit[process];
    const gone = processes.gone[process];
    const start = processes.start[process];
    const reap = processes.reap[process];
    const end = exit ?? gone ?? reap ?? data.duration;
    // Where the fork was lost, the kernel's own start time is known all the same.
    const begin = fork ?? start;
    return {
      begin,
      end: Math.max(end, begin),
      older: begin < 0,
      ended: exit !== null,
      unseen: exit === null && gone !== null,
      // Its reaping may not have been recorded: no zombie without a proof.
      zombieUntil: exit === null ? null : (reap ?? (processes.zombie[process] ? data.duration : null)),
    };
  }

  const killOf = new Map(data.kills.map((kill) => [kill[1], kill]));
  const children = Array.from({ length: count }, () => []);
  processes.starter.forEach((starter, process) => {
    if (starter >= 0) {
      children[starter].push(process);
    }
  });

  const KINDS = {
    "parent-death": "its parent-death signal",
    "pid-namespace-end": "as its pid namespace ended",
    "kernel-call": "made by the kernel",
    kernel: "made by the kernel",
    oom: "chosen when memory ran out",
  };

  function ending(process) {
    const signal = processes.signal[process];
    if (signal === null) {
      if (processes.exit[process] === null) {
        return processes.gone[process] === null ? "no end seen" : "had ended, unseen";
      }
      return `exited ${processes.status[process]}`;
    }
    const kill = killOf.get(process);
    if (kill === undefined) {
      return `killed by ${signal}, sender not recorded`;
    }
    const by = kill[4] === "process" ? `sent by ${label(kill[2])}` : KINDS[kill[4]];
    return `killed by ${signal}, ${by}`;
  }

  Object.assign(rtrace, { data, processes, count, utc, seconds, span, label, life, killOf });
  Object.assign(rtrace, { children, ending });
}
