/* A JupyterLab extension, where the site has an idle timeout: reports to the server whether this page is used, and warns
   before the lab ends. A key, a click, the wheel and an unsaved document are use; a page that is only open is not. */
(() => {
  const EVENTS = ['keydown', 'pointerdown', 'pointermove', 'wheel'];
  const plugin = {
    id: 'gears:idle',
    description: 'Warns before an unused lab ends.',
    autoStart: true,
    activate: app => {
      const settings = app.serviceManager.serverSettings;
      let used = false;
      let warning = null; // the id of the notification
      let timer = 0;
      const unsaved = () =>
        [...app.shell.widgets('main')].some(widget => widget.context?.model?.dirty && !widget.context.model.readOnly);
      const send = async () => {
        const cookie = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
        const answer = await fetch(settings.baseUrl + 'gears/use', {
          method: 'POST',
          credentials: 'same-origin',
          body: JSON.stringify({ used: used || unsaved() }),
          headers: {
            'Content-Type': 'application/json',
            ...(cookie && { 'X-XSRFToken': cookie[1] }),
            ...(settings.token && { Authorization: `token ${settings.token}` })
          }
        });
        if (!answer.ok) {
          throw new Error(answer.statusText);
        }
        used = false;
        return answer.json();
      };
      const show = async left => {
        if (left === null && warning !== null) {
          app.commands.execute('apputils:dismiss-notification', { id: warning });
          warning = null;
        } else if (left !== null && warning === null) {
          const time = left >= 120 ? `${Math.floor(left / 60)} min` : `${left} s`;
          warning = await app.commands.execute('apputils:notify', {
            message: `Nobody uses this lab: it ends in ${time}. Click, or press a key, to keep it.`,
            type: 'warning',
            options: { autoClose: false }
          });
        }
      };
      const report = async () => {
        clearTimeout(timer);
        let next = 60;
        try {
          const answer = await send();
          next = answer.every_s;
          await show(answer.left_s);
        } catch (error) {
          console.debug('gears: the use of this page could not be reported', error);
        }
        clearTimeout(timer);
        timer = setTimeout(report, 1000 * next);
      };
      const use = () => {
        const first = !used;
        used = true;
        if (first && warning !== null) {
          report();
        }
      };
      EVENTS.forEach(name => window.addEventListener(name, use, { capture: true, passive: true }));
      app.restored.then(report);
    }
  };
  (window._JUPYTERLAB = window._JUPYTERLAB || {})['gears-idle'] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin })
  };
})();
