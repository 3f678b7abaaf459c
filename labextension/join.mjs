// Joins the scripts that the builder has made into one: each is a round trip, which a line from home makes slow.
// The runtime in remoteEntry takes the modules that were loaded before it.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

const output = new URL('../gears/lab/labextensions/gears-panel/', import.meta.url);
const file = name => new URL(name, output);
const described = JSON.parse(readFileSync(file('package.json'), 'utf8'));
const entry = described.jupyterlab._build.load;
const chunks = readdirSync(file('static/'))
  .filter(name => name.endsWith('.js') && name !== 'style.js' && `static/${name}` !== entry)
  .map(name => `static/${name}`)
  .sort();
const text = [...chunks, entry].map(name => readFileSync(file(name), 'utf8')).join('\n');
const name = `static/remoteEntry.${createHash('sha256').update(text).digest('hex').slice(0, 16)}.js`;
for (const joined of [...chunks, entry, 'static/style.js']) {
  rmSync(file(joined));
}
described.jupyterlab._build.load = name;
writeFileSync(file(name), text);
writeFileSync(file('package.json'), JSON.stringify(described, null, 2) + '\n');
