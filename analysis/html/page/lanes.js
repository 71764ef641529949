// Which lanes the picture has, from top to bottom: a scope is everything, a container, or a story.

{
  const { data } = rtrace;

  // {title, story, filter}: filter says of a process whether it has a lane.
  function scopes() {
    const all = [{ title: "everything", story: null, filter: () => true }];
    data.stories.forEach((story) => {
      const people = new Set(story.people);
      all.push({ title: story.title, story, filter: (process) => people.has(process) });
    });
    data.groups.forEach((group) => {
      if (group.container >= 0) {
        const people = new Set(group.lanes.map(([process]) => process));
        all.push({ title: group.title, story: null, filter: (process) => people.has(process) });
      }
    });
    return all;
  }

  // rows: {group} for a heading, {process, depth, group} for a lane; rowOf: row of each process.
  function rowsOf(scope) {
    const rows = [];
    const rowOf = new Map();
    data.groups.forEach((group, number) => {
      const lanes = group.lanes.filter(([process]) => scope.filter(process));
      if (lanes.length > 0) {
        rows.push({ process: -1, depth: 0, group: number });
      }
      for (const [process, depth] of lanes) {
        rowOf.set(process, rows.length);
        rows.push({ process, depth, group: number });
      }
    });
    return { rows, rowOf };
  }

  Object.assign(rtrace, { scopes, rowsOf });
}
