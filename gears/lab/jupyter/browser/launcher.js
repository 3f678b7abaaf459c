/* A JupyterLab extension: shows the launcher as soon as the layout is restored, if nothing else is open. JupyterLab
   itself does so only after it has saved the workspace (after 750 ms) and listed the directory again. */
(() => {
  const plugin = {
    id: 'gears:launcher',
    description: 'Shows the launcher as soon as the layout is restored.',
    autoStart: true,
    activate: app => {
      const page = JSON.parse(document.getElementById('jupyter-config-data').textContent);
      if (page.treePath || page.mode !== 'multiple-document' || !app.shell.restored || !app.shell.isEmpty) {
        return;
      }
      app.shell.restored.then(() => {
        if (app.shell.isEmpty('main') && app.commands.hasCommand('launcher:create')) {
          app.commands.execute('launcher:create');
        }
      });
    }
  };
  (window._JUPYTERLAB = window._JUPYTERLAB || {}).gears = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin })
  };
})();
