// What the client programs have in common: they run named cases and print what came of them as one JSON object.

export const [url, model] = process.argv.slice(2, 4);
export const system = 'You write Python.';
export const user = 'Add two numbers.';
export const messages = [{ role: 'system', content: system }, { role: 'user', content: user }];

/** A schema that even random weights come to the end of. */
const step = {
  type: 'object',
  properties: { done: { type: 'boolean' }, kind: { enum: ['sum', 'product'] } },
  required: ['done', 'kind'],
  additionalProperties: false,
};
export const plan = {
  type: 'object',
  properties: { first: step, second: step },
  required: ['first', 'second'],
  additionalProperties: false,
};

export const error = (raised) => ({
  type: raised.name,
  status: raised.status ?? raised.statusCode ?? null,
  message: String(raised.message),
});

/** What a refused request raises; a request that is not refused has nothing to report. */
export async function refused(request) {
  try {
    await request();
    return null;
  } catch (raised) {
    return error(raised);
  }
}

/** Run every case; one that raises is reported as failed and stops no other. */
export async function report(cases) {
  const results = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      results[name] = await run();
    } catch (raised) {
      results[name] = { failed: error(raised) };
    }
  }
  console.log(JSON.stringify(results));
}
