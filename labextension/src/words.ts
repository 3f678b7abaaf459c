// The state of a lab in words, for the status bar and the panel.

import type { TranslationBundle } from '@jupyterlab/translation';
import type { IAnswer, IHop, ISuccessor, Seen } from './answer';

/** A duration in hours and minutes; under two minutes in seconds. */
export function duration(trans: TranslationBundle, seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 2) {
    return trans.__('%1 s', Math.floor(seconds));
  }
  return minutes < 60 ? trans.__('%1 min', minutes) : trans.__('%1 h %2 min', Math.floor(minutes / 60), minutes % 60);
}

/** A size in the largest unit of which there is one. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power > 2 ? 1 : 0)} ${units[power]}`;
}

/** How often a hop of the way was dialled again. */
export function redialled(answer: IAnswer): number {
  return answer.status.hops.reduce((sum, hop) => sum + hop.reconnects, 0);
}

function redials(trans: TranslationBundle, times: number): string {
  return trans._n('redialled once', 'redialled %1 times', times);
}

export function hop(trans: TranslationBundle, found: IHop): string {
  const way = trans.__('%1 → %2', found.from, found.to);
  if (found.state !== 'up') {
    return trans.__('%1: %2', way, found.state);
  }
  const up = trans.__('%1: up', way);
  return found.reconnects ? `${up}, ${redials(trans, found.reconnects)}` : up;
}

export function successor(trans: TranslationBundle, found: ISuccessor): string {
  const words = [trans.__('job %1', found.id)];
  if (found.state !== 'UNKNOWN') {
    words.push(found.state.toLowerCase());
  }
  if (found.reason) {
    words.push(found.reason);
  }
  if (found.position !== null) {
    words.push(trans.__('place %1', found.position));
  }
  if (found.starts) {
    words.push(trans.__('expected to start %1', new Date(found.starts).toLocaleString()));
  }
  return words.join(', ');
}

/** The parts of the status bar's item; `low`: one that needs attention. */
export function parts(trans: TranslationBundle, seen: Seen): { text: string; low?: boolean }[] {
  const { answer } = seen;
  const found: { text: string; low?: boolean }[] = [
    { text: seen.host ? trans.__('%1 on %2', answer.status.site, seen.host) : answer.status.site }
  ];
  if (seen.left !== null) {
    found.push({ text: trans.__('%1 left', duration(trans, seen.left)), low: seen.low });
  }
  const times = redialled(answer);
  if (times) {
    found.push({ text: redials(trans, times) });
  }
  if (answer.cluster) {
    found.push({ text: trans._n('%1 Dask worker', '%1 Dask workers', answer.cluster.workers) });
  }
  if (answer.disks.length) {
    found.push({ text: trans.__('disk almost full'), low: true });
  }
  return found;
}

/** Name and value of each line of the panel. */
export function facts(trans: TranslationBundle, seen: Seen): [string, string][] {
  const { status, cluster, disks, later, notes, walltime } = seen.answer;
  const found: [string, string][] = [[trans.__('JupyterLab'), lab(trans, seen)]];
  if (status.job) {
    const { id, state, node, queue } = status.job;
    const where = node ? trans.__('job %1 on %2: %3', id, node, state.toLowerCase()) : trans.__('job %1: %2', id, state);
    found.push([trans.__('Job'), queue ? trans.__('%1, queue %2', where, queue) : where]);
  }
  if (seen.left !== null) {
    const times = [duration(trans, seen.left), duration(trans, walltime!.whole_s)];
    found.push([trans.__('Time left'), trans.__('%1 of %2', ...times)]);
  }
  if (seen.answer.successor) {
    found.push([trans.__('Next job'), successor(trans, seen.answer.successor)]);
  } else if (later) {
    found.push([trans.__('Next job'), trans.__('is submitted when this one ends')]);
  }
  for (const one of status.hops) {
    found.push([trans.__('Connection'), hop(trans, one)]);
  }
  if (cluster) {
    const workers = trans._n('%1 worker', '%1 workers', cluster.workers);
    found.push([trans.__('Dask cluster'), trans.__('%1 on %2, %3', cluster.state, cluster.host ?? '–', workers)]);
  }
  for (const disk of disks) {
    found.push([trans.__('Disk'), trans.__('%1: %2 free of %3', disk.path, size(disk.free), size(disk.size))]);
  }
  return [...found, ...notes.map((note): [string, string] => [trans.__('Note'), note])];
}

function lab(trans: TranslationBundle, seen: Seen): string {
  const { lab, state, reason, next } = seen.answer.status;
  const words = [lab?.started ? trans.__('%1 since %2', state, new Date(lab.started).toLocaleString()) : state];
  return [...words, ...(reason ? [reason] : []), ...(next ? [next] : [])].join(' – ');
}
