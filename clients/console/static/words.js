// What the page says, in French and in English; a language is chosen by the browser. What is named in a territory keeps its name.

const WORDS = {
  fr: {
    alarms_title: "Alarmes", off: "à l'arrêt", answers_not: "ne répond pas", heat_from: "de", heat_to: "vers", parted: "le jumeau s'est écarté de ce qui est compté", clearing: "en réparation", starting: "démarre", resetting: "réglage",
    network: "Réseau", balance: "D'où vient la chaleur, où elle va", trend: "Mesuré, jumeau, prévision", signals: "Signaux", details: "Sélection",
    factories: "Usines", alarms: "alarmes", health: "État des services", search: "chercher", find: "trouver", only_off: "seulement douteux",
    all_assets: "tous", supply: "aller", return: "retour", inlet: "entrée", outlet: "sortie", live: "en direct", lost: "connexion perdue, nouvel essai…",
    name: "signal", value: "valeur", sd: "écart type", age: "âge", quality: "qualité", source: "source", data_age: "données d'il y a",
    good: "bonne", uncertain: "incertaine", bad: "mauvaise", measured: "mesuré", estimated: "estimé", ledger: "cumul",
    forecast: "prévision", twin: "jumeau", customers: "clients", losses: "pertes", stored: "eau des conduites", holding: "maintien de pression",
    no_units: "Ce réseau n'a ni producteurs ni clients décrits.", choose_thing: "Cliquez une sous-station, un producteur ou une conduite.",
    heat_in: "injectée", heat_out: "livrée", loss: "pertes", recovered: "part récupérée", recovered_of_it: "récupéré", curtailed: "chaleur fatale perdue", co2_avoided: "CO2 évité", cost: "coût",
    coldest: "départ le plus froid", outdoor: "extérieur", waiting: "en attente des premières mesures", imbalance: "non bouclé",
    of_ledger: "moyenne de la dernière minute, par le cumul", of_now: "à l'instant", closes: "boucle", closes_to: "boucle à",
    plant: "installation", energy_plant: "centrale", shapes: "○ client · ■ producteur · ◆ stockage · × mesure douteuse", width_flow: "largeur : débit, jusqu'à", size_heat: "taille : jusqu'à",
    map_keys: "flèches, + et − ; 0 montre tout", whole: "tout montrer", nearer: "plus près", farther: "plus loin", short: "30 min", long: "24 h",
    auto: "auto", light: "clair", dark: "sombre", theme: "clair ou sombre", since: "depuis", no_alarms: "aucune alarme", server: "serveur", gateway: "passerelle",
    high: "haute", medium: "moyenne", low: "basse", runs: "en marche", waits: "en attente", down: "en panne", unknown: "inconnu",
    power: "puissance", output: "production", energy: "énergie", batch: "lot", scrap: "rebut", temperature: "température", flow: "débit", heat: "chaleur",
    bias: "biais", fouling: "encrassement", execute: "en marche", idle: "au repos", suspended: "suspendu", held: "retenu", stopped: "arrêté", aborted: "interrompu", complete: "achevé",
    heat_only_boiler: "chaudière", boiler: "chaudière", chp: "cogénération", waste_incinerator: "incinérateur", heat_pump: "pompe à chaleur",
    waste_heat_exchanger: "chaleur fatale", heat_source: "source", storage_tank: "stockage", dump_cooler: "aéroréfrigérant", substation: "sous-station",
  },
  en: {
    alarms_title: "Alarms", off: "are off", answers_not: "does not answer", heat_from: "from", heat_to: "to", parted: "the twin has parted from what is counted", clearing: "being repaired", starting: "starts", resetting: "set up",
    network: "Network", balance: "Where heat comes from and goes", trend: "Measured, twin, forecast", signals: "Signals", details: "Selection",
    factories: "Factories", alarms: "alarms", health: "Health of services", search: "search", find: "find", only_off: "only doubtful",
    all_assets: "all assets", supply: "supply", return: "return", inlet: "inlet", outlet: "outlet", live: "live", lost: "connection lost, trying again…",
    name: "signal", value: "value", sd: "std. deviation", age: "age", quality: "quality", source: "source", data_age: "data age",
    good: "good", uncertain: "uncertain", bad: "bad", measured: "measured", estimated: "estimated", ledger: "ledger",
    forecast: "forecast", twin: "twin", customers: "customers", losses: "losses", stored: "water in pipes", holding: "pressure holding",
    no_units: "No producers or customers are described in this network.", choose_thing: "Click a station, a producer or a pipe.",
    heat_in: "fed in", heat_out: "delivered", loss: "losses", recovered: "recovered share", recovered_of_it: "recovered", curtailed: "curtailed waste heat", co2_avoided: "CO2 avoided", cost: "cost",
    coldest: "coldest supply", outdoor: "outdoors", waiting: "waiting for the first measurements", imbalance: "not closed",
    of_ledger: "mean of the last minute, by the ledger", of_now: "now", closes: "closes", closes_to: "closes to",
    plant: "plant", energy_plant: "plant", shapes: "○ customer · ■ producer · ◆ storage · × doubtful measurement", width_flow: "width: flow, up to", size_heat: "size: up to",
    map_keys: "arrows, + and −; 0 shows all", whole: "show all", nearer: "nearer", farther: "farther", short: "30 min", long: "24 h",
    auto: "auto", light: "light", dark: "dark", theme: "light or dark", since: "since", no_alarms: "no alarms", server: "server", gateway: "gateway",
    high: "high", medium: "medium", low: "low", runs: "run", waits: "wait", down: "are down", unknown: "unknown",
    power: "power", output: "output", energy: "energy", batch: "batch", scrap: "scrap", temperature: "temperature", flow: "flow", heat: "heat",
    bias: "bias", fouling: "fouling", execute: "runs", idle: "idle", suspended: "suspended", held: "held", stopped: "stopped", aborted: "aborted", complete: "complete",
    heat_only_boiler: "boiler", boiler: "boiler", chp: "combined heat and power", waste_incinerator: "incinerator", heat_pump: "heat pump",
    waste_heat_exchanger: "waste heat", heat_source: "source", storage_tank: "storage", dump_cooler: "dump cooler", substation: "station",
  },
};

export const language = (globalThis.navigator?.languages ?? ["en"]).some((tag) => tag.startsWith("fr")) ? "fr" : "en";

/** The word for a key; the key itself where there is none. */
export function word(key) {
  return WORDS[language][key] ?? key;
}

/** A quantity and the place that it is of, in the order of the language. */
export function placed(quantity, place) {
  return language === "fr" ? `${quantity} ${place}` : `${place} ${quantity}`;
}

export const LANGUAGES = WORDS;
