// The panel: the state of the lab in words, its buttons, the environments to start, the dashboard of its cluster.

import { URLExt } from '@jupyterlab/coreutils';
import type { KernelSpec } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { Seen } from './answer';
import { facts } from './words';

/** What the panel can have done. `start`: a notebook with that kernel. */
export interface IDoes {
  /** Return the outcome in a sentence, empty where there is nothing to say. */
  act(action: string): Promise<string>;
  start(kernel: string): void;
}

export class Panel extends Widget {
  constructor(
    private trans: TranslationBundle,
    private baseUrl: string,
    private does: IDoes
  ) {
    super();
    this.id = 'gears-panel';
    this.addClass('gears-Panel');
    this.title.label = trans.__('Lab');
    this.title.caption = trans.__('Where this lab runs, how long, and what to do about it');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this.title.caption);
    this.heading.tabIndex = -1;
    this.told.setAttribute('role', 'status');
    this.told.setAttribute('aria-live', 'polite');
    const buttons = element('div', 'gears-Panel-buttons');
    const actions: [string, string, string, string][] = [
      ['keep', trans.__('Keep going'), trans.__('Submit a job that takes over when this one ends'), 'jp-mod-accept'],
      ['save', trans.__('Save the state now'), trans.__('Save the variables of all notebooks'), ''],
      ['stop', trans.__('Stop…'), trans.__('End JupyterLab, its kernels and its job'), 'jp-mod-warn']
    ];
    for (const [action, label, caption, look] of actions) {
      const button = this.button(label, caption, look, () => void this.act(action));
      this.buttons.set(action, button);
      buttons.append(button);
    }
    this.dashboard.textContent = trans.__('Dashboard of the Dask cluster');
    this.dashboard.target = '_blank';
    this.dashboard.hidden = true;
    const start = element('h3', '');
    start.textContent = trans.__('Start a notebook in');
    this.node.append(this.heading, this.facts, this.dashboard, this.told, buttons, start, this.kernels);
  }

  /** Show what was seen, or why nothing was. */
  display(seen: Seen | string): void {
    const { trans } = this;
    if (typeof seen === 'string') {
      this.heading.textContent = seen;
      return;
    }
    const { status, cluster, actions } = seen.answer;
    this.heading.textContent = seen.host ? trans.__('%1 on %2', status.site, seen.host) : status.site;
    this.facts.replaceChildren(
      ...facts(trans, seen).flatMap(([name, value]) => {
        const [term, definition] = [element('dt', ''), element('dd', '')];
        [term.textContent, definition.textContent] = [name, value];
        return [term, definition];
      })
    );
    for (const [action, button] of this.buttons) {
      button.hidden = !actions.includes(action);
    }
    this.dashboard.hidden = !cluster?.dashboard;
    this.dashboard.href = URLExt.join(this.baseUrl, cluster?.dashboard ?? '');
  }

  /** Offer these kernels. */
  offer(specs: KernelSpec.ISpecModels | null): void {
    const found = Object.values(specs?.kernelspecs ?? {}).filter(spec => spec !== undefined);
    this.kernels.replaceChildren(
      ...found.map(spec => {
        const caption = this.trans.__('Start a notebook with the kernel %1', spec.display_name);
        return this.button(spec.display_name, caption, '', () => this.does.start(spec.name));
      })
    );
  }

  /** Say something, to screen readers too. */
  tell(words: string): void {
    this.told.textContent = words;
  }

  protected onActivateRequest(_: Message): void {
    this.heading.focus();
  }

  private async act(action: string): Promise<void> {
    const button = this.buttons.get(action)!;
    button.disabled = true;
    try {
      this.tell(await this.does.act(action));
    } catch (error) {
      this.tell(error instanceof Error ? error.message : String(error));
    } finally {
      button.disabled = false;
      if (button.hidden) {
        this.heading.focus(); // it had the focus
      }
    }
  }

  private button(label: string, caption: string, look: string, click: () => void): HTMLButtonElement {
    const button = element('button', `jp-mod-styled ${look || 'jp-mod-reject'}`);
    button.type = 'button';
    button.textContent = label;
    button.title = caption;
    button.addEventListener('click', click);
    return button;
  }

  private heading = element('h2', '');
  private facts = element('dl', '');
  private dashboard = element('a', '');
  private told = element('p', '');
  private kernels = element('div', 'gears-Panel-buttons');
  private buttons = new Map<string, HTMLButtonElement>();
}

function element<K extends keyof HTMLElementTagNameMap>(name: K, look: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.className = look;
  return made;
}
