// node welcome.mjs CHROMIUM URL SCREENSHOT: does what a person does on the page
// that a bus shows at its address: subscribes, publishes, reads what arrives.
// Prints {"shown":[…],"curl":"…","errors":[…]}.
import { launch } from './chromium.mjs';

const [executablePath, url, screenshot] = process.argv.slice(2);
const browser = await launch(executablePath);
const page = await browser.newPage({ viewport: { width: 900, height: 640 } });
const errors = [];
page.on('console', m => m.type() === 'error' && errors.push(`${m.text()} ${m.location().url}`));
page.on('pageerror', e => errors.push('uncaught: ' + e));

const answer = await page.goto(url);
const subject = page.getByLabel('subject pattern');
await page.waitForFunction(() => document.querySelector('#subscribe input').value !== '');
await page.getByRole('button', { name: 'Subscribe' }).click();
await page.getByRole('status').filter({ hasText: 'subscribed to ' + await subject.inputValue() }).waitFor();
const rows = page.getByRole('listitem');
for (const [n, text] of ['{"hello":"world"}', '"<b>text is text</b>"', 'not JSON'].entries()) {
  await page.getByLabel('payload, JSON').fill(text);
  await page.getByRole('button', { name: 'Publish' }).click();
  await rows.nth(n).waitFor();
}
const shown = await rows.allTextContents();
const curl = await page.locator('#curl').textContent();
await page.screenshot({ path: screenshot });
console.log(JSON.stringify({ status: answer.status(), shown, curl, errors }));
await browser.close();
