// What the server says of its lab (gears/lab/panel.py), and the requests to it.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

export interface IHop {
  from: string;
  to: string;
  state: string;
  since: string | null;
  reconnects: number;
}

export interface IJob {
  id: string;
  state: string;
  node: string | null;
  queue: string;
}

/** As `gears status --json` has it. */
export interface IStatus {
  site: string;
  state: string;
  reason: string | null;
  next: string | null;
  hops: IHop[];
  lab: { host: string; version: string | null; started: string | null } | null;
  job: IJob | null;
}

export interface ISuccessor {
  id: string;
  state: string;
  reason: string;
  position: number | null;
  starts: string | null;
}

export interface IAnswer {
  status: IStatus;
  walltime: { left_s: number; whole_s: number; warn_s: number } | null;
  successor: ISuccessor | null;
  later: boolean;
  cluster: { state: string; host: string | null; workers: number; tasks: number; dashboard: string | null } | null;
  disks: { path: string; free: number; size: number }[];
  notes: string[];
  actions: string[];
  /** In a lab that carries variables: what was saved before the warning of the job's end. */
  saved?: string;
}

/** An answer, and when it came. */
export class Seen {
  constructor(readonly answer: IAnswer) {}

  /** The seconds until the job ends; null where there is no job, or its end is not known. */
  get left(): number | null {
    const walltime = this.answer.walltime;
    return walltime && Math.max(0, walltime.left_s - (performance.now() - this.at) / 1000);
  }

  /** Whether the job is in the last tenth of its time. */
  get low(): boolean {
    return this.left !== null && this.left < this.answer.walltime!.whole_s / 10;
  }

  /** Whether it is time to warn of the end. */
  get ending(): boolean {
    return this.left !== null && this.left <= this.answer.walltime!.warn_s;
  }

  /** The host on which JupyterLab runs. */
  get host(): string {
    const { lab, job } = this.answer.status;
    return lab?.host ?? job?.node ?? '';
  }

  private at = performance.now();
}

/** Request `gears/panel…` of the server. Throws an error with the server's message where it fails. */
export async function request<T>(settings: ServerConnection.ISettings, path: string, method = 'GET'): Promise<T> {
  const url = URLExt.join(settings.baseUrl, 'gears/panel') + path;
  const response = await ServerConnection.makeRequest(url, { method }, settings);
  const text = await response.text();
  let answer: any = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // Not of gears: its status says what there is to say.
  }
  if (!response.ok || answer === null) {
    throw new ServerConnection.ResponseError(response, answer?.message ?? response.statusText);
  }
  return answer as T;
}
