// The item in the status bar: a button that opens the panel.

import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import type { Seen } from './answer';
import { parts } from './words';

export class StatusItem extends Widget {
  constructor(
    private trans: TranslationBundle,
    open: () => void
  ) {
    super();
    this.addClass('gears-StatusItem');
    this.button.type = 'button';
    this.button.addEventListener('click', open);
    this.button.hidden = true;
    this.node.append(this.button);
  }

  /** Show what was seen, or why nothing was. */
  display(seen: Seen | string): void {
    const found = typeof seen === 'string' ? [{ text: seen, low: true }] : parts(this.trans, seen);
    this.button.replaceChildren(
      ...found.map(({ text, low }) => {
        const part = document.createElement('span');
        part.textContent = text;
        part.classList.toggle('gears-mod-low', Boolean(low));
        return part;
      })
    );
    const words = found.map(part => part.text).join(', ');
    this.button.setAttribute('aria-label', this.trans.__('Lab: %1. Show details', words));
    this.button.title = this.trans.__('Where this lab runs: show details');
    this.button.hidden = false;
  }

  private button = document.createElement('button');
}
