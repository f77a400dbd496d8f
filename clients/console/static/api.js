// Questions to the console that are not part of the live stream.

/** The JSON answer of a path; null when there is none. */
export async function ask(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // the live stream tells of a console that is gone
  }
}

export function layoutOf(network) {
  return ask(`/api/layout/${encodeURIComponent(network)}`);
}

export function forecastOf(asset) {
  return ask(`/api/forecast/${asset.split("/").map(encodeURIComponent).join("/")}`);
}

/** The past of a signal, or of the sum of several; of the last half hour, or of the last day. */
export function trendOf(asset, signals, isLong) {
  const names = signals.map((name) => `signal=${encodeURIComponent(name)}`).join("&");
  return ask(`/api/trend/${encodeURIComponent(asset)}?${names}${isLong ? "&long=1" : ""}`);
}
