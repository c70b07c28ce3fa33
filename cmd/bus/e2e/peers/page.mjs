// node page.mjs CHROMIUM URL [FILE]: opens a page and repeats on stdout what it
// prints with console.log. With FILE, that is what the browser finds at the
// URL, whoever serves there: a page of the bus's own origin.
import { launch } from './chromium.mjs';

const [executablePath, url, file] = process.argv.slice(2);
const browser = await launch(executablePath);
// The certificates here are the test's own.
const page = await browser.newPage({ ignoreHTTPSErrors: true });
page.on('console', m => (m.type() === 'log' ? console.log : console.error)(m.text()));
page.on('pageerror', e => console.error('uncaught: ' + e));
if (file) await page.route(url, route => route.fulfill({ path: file }));
await page.goto(url);
