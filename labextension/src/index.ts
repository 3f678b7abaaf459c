// JupyterLab's page as gears shows it: an item in the status bar, a panel, a notification before the end of a job.

import { ILabShell, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, Notification, showDialog } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { Poll } from '@lumino/polling';
import '../style/panel.css';
import { type IAnswer, request, Seen } from './answer';
import { Panel } from './panel';
import { StatusItem } from './statusitem';
import { duration } from './words';

const OPEN = 'gears:show-lab';

/** How often the server is asked, and the shown time is updated. */
const EVERY_MS = 30_000;

class Lab {
  constructor(
    private app: JupyterFrontEnd,
    private trans: TranslationBundle
  ) {
    this.item = new StatusItem(trans, () => void app.commands.execute(OPEN));
  }

  readonly item: StatusItem;

  /** Begin to ask the server; never while the tab is hidden. */
  begin(): void {
    this.poll = new Poll({
      name: 'gears:lab',
      factory: () => this.look(),
      frequency: { interval: EVERY_MS, backoff: true, max: 10 * EVERY_MS },
      standby: 'when-hidden'
    });
  }

  /** Show the panel, and move the focus to it. */
  open(): void {
    if (!this.panel || this.panel.isDisposed) {
      this.panel = this.make();
    }
    if (!this.panel.isAttached) {
      this.app.shell.add(this.panel, 'right', { rank: 900 });
    }
    this.panel.tell('');
    this.app.shell.activateById(this.panel.id);
    void this.poll?.refresh();
  }

  private make(): Panel {
    const { commands, serviceManager } = this.app;
    const { kernelspecs, serverSettings } = serviceManager;
    const panel = new Panel(this.trans, serverSettings.baseUrl, {
      act: action => this.act(action),
      start: kernelName => void commands.execute('notebook:create-new', { kernelName })
    });
    panel.offer(kernelspecs.specs);
    kernelspecs.specsChanged.connect((_, specs) => panel.offer(specs), panel);
    panel.display(this.seen ?? this.trans.__('Looking…'));
    return panel;
  }

  private async look(): Promise<void> {
    const ask = this.panel?.isVisible ? '?ask=1' : '';
    try {
      const answer = await request<IAnswer>(this.app.serviceManager.serverSettings, ask);
      this.display(new Seen(withQueue(answer, this.seen?.answer)));
    } catch (error) {
      this.fail(error);
      throw error; // the poll asks less often
    }
  }

  private display(seen: Seen): void {
    this.seen = seen;
    this.item.display(seen);
    this.panel?.display(seen);
    this.warn(seen);
  }

  private fail(error: unknown): void {
    const answered = error instanceof ServerConnection.ResponseError;
    this.item.display(answered ? this.trans.__('state not known') : this.trans.__('no connection'));
    this.panel?.display(answered ? error.message : this.trans.__('JupyterLab does not answer'));
  }

  /** Warn once before the end of a job; a successor ends the warning. */
  private warn(seen: Seen): void {
    const { status, successor } = seen.answer;
    const id = status.job?.id ?? '';
    if (this.warned && (this.warned.job !== id || this.warned.successor !== Boolean(successor))) {
      Notification.dismiss(this.warned.id);
      this.warned = null;
    }
    if (!seen.ending) {
      return;
    }
    const saved = seen.answer.saved ?? '';
    const left = duration(this.trans, seen.left!);
    const what = variables(this.trans, seen);
    const words = successor
      ? this.trans.__('Job %1 ends in %2. Job %3 takes over. %4', id, left, successor.id, what)
      : this.trans.__('Job %1 ends in %2. %3', id, left, what);
    if (this.warned) {
      if (this.warned.saved !== saved) {
        this.warned.saved = saved;
        Notification.update({ id: this.warned.id, message: words });
      }
      return;
    }
    const keep = { label: this.trans.__('Keep going'), callback: () => void this.keepGoing() };
    const show = { label: this.trans.__('Show'), callback: () => this.open() };
    const actions = seen.answer.actions.includes('keep') ? [keep, show] : [show];
    const shown = Notification.warning(words, { autoClose: false, actions });
    this.warned = { id: shown, job: id, successor: Boolean(successor), saved };
  }

  private async keepGoing(): Promise<void> {
    this.open();
    this.panel!.tell(await this.act('keep').catch(error => String(error.message ?? error)));
  }

  private async act(action: string): Promise<string> {
    if (action === 'stop') {
      return this.stop();
    }
    const told = await request<string>(this.app.serviceManager.serverSettings, `/${action}`, 'POST');
    await this.poll?.refresh();
    await this.poll?.tick;
    return told;
  }

  private async stop(): Promise<string> {
    const { trans } = this;
    const { serverSettings } = this.app.serviceManager;
    const job = this.seen?.answer.status.job;
    const what = job
      ? trans.__('JupyterLab, all its kernels and job %1 end; a job that was to take over is cancelled.', job.id)
      : trans.__('JupyterLab and all its kernels end.');
    const saved = this.seen && carries(this.seen);
    const variables = saved ? trans.__('Variables are saved for the next lab.') : trans.__('Variables are lost.');
    const { button } = await showDialog({
      title: trans.__('Stop this lab?'),
      body: [what, variables, trans.__('A Dask cluster of gears keeps running.')].join(' '),
      defaultButton: 0,
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Stop') })]
    });
    if (!button.accept) {
      return '';
    }
    this.poll?.dispose();
    const url = URLExt.join(serverSettings.baseUrl, 'api/shutdown');
    const response = await ServerConnection.makeRequest(url, { method: 'POST' }, serverSettings);
    if (!response.ok) {
      throw new ServerConnection.ResponseError(response);
    }
    return trans.__('JupyterLab has ended. To start it again: gears lab %1', this.seen?.answer.status.site ?? '');
  }

  private poll: Poll | null = null;
  private panel: Panel | null = null;
  private seen: Seen | null = null;
  private warned: { id: string; job: string; successor: boolean; saved: string } | null = null;
}

/** What becomes of the variables of notebooks at the end of a job. */
function variables(trans: TranslationBundle, seen: Seen): string {
  if (!carries(seen)) {
    return trans.__('Save your work: variables are lost.');
  }
  const { saved } = seen.answer;
  return saved
    ? trans.__('Variables are saved again for the next lab; by now %1', saved)
    : trans.__('Variables are saved for the next lab.');
}

/** Whether the lab saves the variables of notebooks when it ends. */
function carries(seen: Seen): boolean {
  return seen.answer.actions.includes('save');
}

/** Keep what the scheduler said of the next job, where this time it was not asked. */
function withQueue(answer: IAnswer, before: IAnswer | undefined): IAnswer {
  const { successor } = answer;
  const known = before?.successor;
  const asked = !successor || successor.state !== 'UNKNOWN' || successor.reason !== '';
  return asked || known?.id !== successor.id ? answer : { ...answer, successor: known };
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'gears-panel:lab',
  description: 'Shows where JupyterLab runs and how long.',
  autoStart: true,
  requires: [ILabShell],
  optional: [ITranslator, IStatusBar, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    _shell: ILabShell,
    translator: ITranslator | null,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null
  ) => {
    const trans = (translator ?? nullTranslator).load('gears');
    const lab = new Lab(app, trans);
    app.commands.addCommand(OPEN, {
      label: trans.__('Show Where the Lab Runs'),
      caption: trans.__('The state of the lab, the time left, and what to do about it'),
      execute: () => lab.open()
    });
    palette?.addItem({ command: OPEN, category: trans.__('Help') });
    statusBar?.registerStatusItem('gears-panel:lab', { item: lab.item, align: 'left', rank: 100, priority: 1 });
    void app.restored.then(() => lab.begin());
  }
};

export default plugin;
