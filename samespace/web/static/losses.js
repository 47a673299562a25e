// What only photos that are marked for removal know.

const told = (member, what) => JSON.parse(member.dataset[what]);
const named = (things) => [...new Set(things.map((thing) => thing.split(":")[0]))];

/** Say on each photo what would be lost with it, by what is kept now. */
export function tellLosses(all, isKept) {
  const kept = new Set(all.filter(isKept).flatMap((member) => told(member, "says")));
  const lost = new Map(all.map((member) => [member, isKept(member) ? [] : named(told(member, "has").filter((thing) => !kept.has(thing)))]));
  for (const member of all) {
    const theirs = new Set(all.filter((other) => other !== member).flatMap((other) => lost.get(other)));
    const alone = lost.get(member).filter((name) => !theirs.has(name)), shared = lost.get(member).filter((name) => theirs.has(name));
    const parts = [["only this copy has", alone], ["only removed copies have", shared]];
    member.querySelector(".only").textContent = parts.filter(([, names]) => names.length).map(([words, names]) => `${words}: ${names.join(", ")}`).join("; ");
  }
}
