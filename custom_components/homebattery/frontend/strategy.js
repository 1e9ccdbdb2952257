/**
 * The dashboard "Home Battery": made of Home Assistant's own cards, from what is in its
 * registries, each time it is opened.
 *
 * Entities are found by their device and translation key, so that renaming changes
 * nothing. Texts that name an entity are Home Assistant's; those below are the page's own.
 */

// Strict JSON, so that a test can compare the languages.
const TEXTS = {
  "en": {
    "overview": "Overview",
    "description": "All your home batteries: state, setpoints, energy and health",
    "no_battery": "There is no battery yet.",
    "add": "Add a battery",
    "all_batteries": "All batteries over a day",
    "house": "House",
    "energy_today": "Energy of the house today",
    "power_now": "Power of the house now",
    "control": "Control",
    "charge": "Charge",
    "hold": "Hold",
    "discharge": "Discharge",
    "release": "Release",
    "now": "Now",
    "charging": "Charging",
    "discharging": "Discharging",
    "idle": "At rest",
    "importing": "Import from grid",
    "exporting": "Export to grid",
    "balanced": "Grid near zero",
    "power_and_setpoint": "Power and setpoint over a day",
    "limits": "Limits and settings",
    "energy": "Energy",
    "charged_today": "Charged today",
    "discharged_today": "Discharged today",
    "week": "The last seven days",
    "health": "Health",
    "everything": "All values and settings",
    "sensors": "Sensors",
    "settings": "Settings",
    "diagnostics": "Diagnostics"
  },
  "de": {
    "overview": "Übersicht",
    "description": "Alle Heimspeicher: Zustand, Sollwerte, Energie und Gesundheit",
    "no_battery": "Es gibt noch keine Batterie.",
    "add": "Batterie hinzufügen",
    "all_batteries": "Alle Batterien über einen Tag",
    "house": "Haus",
    "energy_today": "Energie des Hauses heute",
    "power_now": "Leistung des Hauses jetzt",
    "control": "Steuerung",
    "charge": "Laden",
    "hold": "Halten",
    "discharge": "Entladen",
    "release": "Freigeben",
    "now": "Jetzt",
    "charging": "Lädt",
    "discharging": "Entlädt",
    "idle": "In Ruhe",
    "importing": "Netzbezug",
    "exporting": "Einspeisung",
    "balanced": "Netz nahe null",
    "power_and_setpoint": "Leistung und Sollwert über einen Tag",
    "limits": "Grenzen und Einstellungen",
    "energy": "Energie",
    "charged_today": "Heute geladen",
    "discharged_today": "Heute entladen",
    "week": "Die letzten sieben Tage",
    "health": "Gesundheit",
    "everything": "Alle Werte und Einstellungen",
    "sensors": "Sensoren",
    "settings": "Einstellungen",
    "diagnostics": "Diagnose"
  },
  "nl": {
    "overview": "Overzicht",
    "description": "Al je thuisbatterijen: toestand, setpoints, energie en gezondheid",
    "no_battery": "Er is nog geen batterij.",
    "add": "Batterij toevoegen",
    "all_batteries": "Alle batterijen over een dag",
    "house": "Huis",
    "energy_today": "Energie van het huis vandaag",
    "power_now": "Vermogen van het huis nu",
    "control": "Regeling",
    "charge": "Laden",
    "hold": "Vasthouden",
    "discharge": "Ontladen",
    "release": "Vrijgeven",
    "now": "Nu",
    "charging": "Laadt",
    "discharging": "Ontlaadt",
    "idle": "In rust",
    "importing": "Afname van het net",
    "exporting": "Teruglevering",
    "balanced": "Net rond nul",
    "power_and_setpoint": "Vermogen en setpoint over een dag",
    "limits": "Grenzen en instellingen",
    "energy": "Energie",
    "charged_today": "Vandaag geladen",
    "discharged_today": "Vandaag ontladen",
    "week": "De laatste zeven dagen",
    "health": "Gezondheid",
    "everything": "Alle waarden en instellingen",
    "sensors": "Sensoren",
    "settings": "Instellingen",
    "diagnostics": "Diagnose"
  },
  "fr": {
    "overview": "Vue d'ensemble",
    "description": "Toutes vos batteries : état, consignes, énergie et santé",
    "no_battery": "Il n'y a pas encore de batterie.",
    "add": "Ajouter une batterie",
    "all_batteries": "Toutes les batteries sur un jour",
    "house": "Maison",
    "energy_today": "Énergie de la maison aujourd'hui",
    "power_now": "Puissance de la maison maintenant",
    "control": "Commande",
    "charge": "Charger",
    "hold": "Maintenir",
    "discharge": "Décharger",
    "release": "Libérer",
    "now": "Maintenant",
    "charging": "En charge",
    "discharging": "En décharge",
    "idle": "Au repos",
    "importing": "Soutirage du réseau",
    "exporting": "Injection au réseau",
    "balanced": "Réseau proche de zéro",
    "power_and_setpoint": "Puissance et consigne sur un jour",
    "limits": "Limites et réglages",
    "energy": "Énergie",
    "charged_today": "Chargé aujourd'hui",
    "discharged_today": "Déchargé aujourd'hui",
    "week": "Les sept derniers jours",
    "health": "Santé",
    "everything": "Toutes les valeurs et réglages",
    "sensors": "Capteurs",
    "settings": "Réglages",
    "diagnostics": "Diagnostic"
  }
};

/** The translation keys of the entities that a card shows, in this order, where they are. */
const KEYS = {
  "number": {
    "limits": [
      "charge_power_limit", "discharge_power_limit", "grid_charge_power_limit",
      "charge_current_limit", "discharge_current_limit", "grid_charge_current_limit",
      "ac_charge_current_limit", "ac_input_current_limit", "min_soc", "max_soc",
      "backup_soc", "shutdown_soc", "grid_charge_cutoff_soc", "max_feed_in_power",
      "max_sell_power"
    ]
  },
  "select": { "limits": ["working_mode", "ess_battery_life_mode"] },
  "switch": { "limits": ["grid_charge", "tou_enabled"] },
  "binary_sensor": {
    "health": ["problem", "battery_alarms", "vebus_alarms", "alarms", "faults"]
  },
  "sensor": {
    "live": ["battery_voltage", "battery_current", "active_power"],
    "health": [
      "battery_status", "device_status", "battery_temperature", "device_temperature",
      "battery_soh", "charge_cycles", "min_cell_voltage", "max_cell_voltage",
      "min_cell_temperature", "max_cell_temperature", "flash_writes_today", "last_fresh"
    ]
  }
};

const PLATFORM = "homebattery";
/** Hours that the graphs of a day show. */
const DAY_HOURS = 24;
/** Power, W, below which a battery rests, and the grid is near zero. */
const REST = 20;
/** Steps of the power on the buttons, W: the coarsest that half of the range bears. */
const ROUND = [500, 100, 10];

const POWER_WORDS = [
  { word: "charging", above: REST, icon: "mdi:battery-arrow-up", color: "green" },
  { word: "discharging", below: -REST, icon: "mdi:battery-arrow-down", color: "orange" },
  { word: "idle", above: -REST - 0.5, below: REST + 0.5, icon: "mdi:battery", color: "grey" },
];
const GRID_WORDS = [
  { word: "importing", above: REST, icon: "mdi:transmission-tower-export", color: "blue" },
  { word: "exporting", below: -REST, icon: "mdi:transmission-tower-import", color: "purple" },
  { word: "balanced", above: -REST - 0.5, below: REST + 0.5, icon: "mdi:transmission-tower", color: "grey" },
];

/** One battery: its device, and its entities by domain and translation key. */
class Battery {
  constructor(device, entities) {
    this.device = device;
    this.name = device.name_by_user || device.name || device.id;
    this.entities = entities;
    this.path = `battery-${device.id}`;
    this._byKey = new Map(entities.map((each) => [`${domainOf(each)}.${each.translation_key}`, each]));
  }

  /** Return the id of the entity of a key, or undefined where the battery has none. */
  id(domain, key) {
    return this._byKey.get(`${domain}.${key}`)?.entity_id;
  }

  /** Return the ids of the entities of keys, without those that it does not have. */
  ids(domain, keys) {
    return keys.map((key) => this.id(domain, key)).filter(Boolean);
  }

  /** Return the entities that a card of KEYS shows. */
  of(card) {
    return Object.entries(KEYS).flatMap(([domain, cards]) => this.ids(domain, cards[card] ?? []));
  }
}

const domainOf = (entity) => entity.entity_id.split(".", 1)[0];

/** Return the batteries, by name, each with its own entities. */
function batteriesOf(hass) {
  const byDevice = new Map();
  for (const entity of Object.values(hass.entities)) {
    if (entity.platform === PLATFORM && entity.device_id && !entity.hidden) {
      byDevice.set(entity.device_id, [...(byDevice.get(entity.device_id) ?? []), entity]);
    }
  }
  return [...byDevice]
    .filter(([id]) => hass.devices[id])
    .map(([id, entities]) => new Battery(hass.devices[id], entities))
    .filter((battery) => battery.id("sensor", "battery_soc") || battery.id("sensor", "control_status"))
    .sort((one, other) => one.name.localeCompare(other.name, hass.locale?.language));
}

/** Return the devices behind a battery: its packs, units and meters. */
function partsOf(hass, battery) {
  return Object.values(hass.devices)
    .filter((device) => device.via_device_id === battery.device.id)
    .map((device) => ({
      name: device.name_by_user || device.name,
      ids: Object.values(hass.entities)
        .filter((entity) => entity.device_id === device.id && !entity.hidden)
        .map((entity) => entity.entity_id),
    }))
    .filter((part) => part.ids.length);
}

// Cards

const named = { type: "entity" };
const heading = (text, more = {}) => ({ type: "heading", heading: text, ...more });
const section = (cards, more = {}) => ({ type: "grid", cards: cards.filter(Boolean), ...more });
const half = { grid_options: { columns: 6, rows: 1 } };
const full = { grid_options: { columns: 12, rows: 1 } };
const wide = { grid_options: { columns: 12 } };

const tile = (entity, more = {}) => entity && { type: "tile", entity, name: named, ...more };

const rows = (ids, more = {}) =>
  ids.length > 0 && { type: "entities", entities: ids.map((entity) => ({ entity, name: named })), ...wide, ...more };

const soc = (battery, more = {}) =>
  tile(battery.id("sensor", "battery_soc"), {
    features: [{ type: "bar-gauge", min: 0, max: 100 }],
    features_position: "inline",
    color: "green",
    ...full,
    ...more,
  });

/** Return the tiles of a power: the one is seen whose words fit its sign. */
function powerInWords(t, entity, words, more = {}) {
  if (!entity) return [];
  const fitting = words.map(({ word, above, below, icon, color }) =>
    tile(entity, {
      name: t[word],
      icon,
      color,
      visibility: [{ condition: "numeric_state", entity, above, below }],
      ...more,
    }));
  return [...fitting, only(entity, NOTHING, more)];
}

/** Return a tile that is seen unless its entity is in one of these states. */
const unless = (entity, states, more = {}) =>
  tile(entity, { visibility: [{ condition: "state", entity, state_not: states }], ...more });

/** Return a tile that is seen while its entity is in one of these states. */
const only = (entity, states, more = {}) =>
  tile(entity, { visibility: [{ condition: "state", entity, state: states }], ...more });

const NOTHING = ["unknown", "unavailable"];
/** States of the control that its user should look at. */
const TROUBLE = ["limited", "not_following", "release_failed"];

/** Return the tiles of control: its mode; status and end while there is any. */
function controlTiles(battery) {
  const mode = battery.id("select", "control_mode");
  const status = battery.id("sensor", "control_status");
  const withReason = { state_content: ["state", "reason"], ...full };
  return [
    tile(mode, { color: "primary", ...half }),
    unless(status, ["automatic", ...TROUBLE], { color: "primary", ...withReason }),
    only(status, TROUBLE, { color: "amber", ...withReason }),
    unless(battery.id("sensor", "setpoint_ends"), NOTHING, half),
    only(battery.id("binary_sensor", "problem"), ["on"], { color: "red", ...half }),
  ];
}

const graph = (entities, hours, more = {}) =>
  entities.length > 0 && { type: "history-graph", hours_to_show: hours, entities, ...wide, ...more };

/** Return the graph of a measurement of all batteries, each by its name. */
const graphOfAll = (batteries, key, more) =>
  graph(
    batteries
      .filter((battery) => battery.id("sensor", key))
      .map((battery) => ({ entity: battery.id("sensor", key), name: battery.name })),
    DAY_HOURS,
    more,
  );

const PERCENT = { min_y_axis: 0, max_y_axis: 100 };

// Views

function overviewOf(t, batteries, energy) {
  return {
    title: t.overview,
    path: "overview",
    icon: "mdi:home-battery",
    type: "sections",
    max_columns: 4,
    sections: [
      ...batteries.map((battery) => batterySection(t, battery)),
      section(
        [
          heading(t.all_batteries, { icon: "mdi:chart-line" }),
          graphOfAll(batteries, "battery_soc", PERCENT),
          graphOfAll(batteries, "battery_power"),
        ],
      ),
      houseSection(t, batteries, energy),
    ].filter(Boolean),
  };
}

function batterySection(t, battery) {
  const own = { tap_action: { action: "navigate", navigation_path: battery.path } };
  return section([
    heading(battery.name, { icon: "mdi:battery-medium", ...own }),
    soc(battery, own),
    ...powerInWords(t, battery.id("sensor", "battery_power"), POWER_WORDS, half),
    ...controlTiles(battery),
  ]);
}

/** Return the section of the house, or undefined where nothing is known of it. */
function houseSection(t, batteries, energy) {
  // The energy dashboard, where it knows the powers, shows them once and in one picture.
  const flows = energy.power ? [] : batteries.flatMap((battery) => houseTiles(t, battery, battery.name));
  const power = energy.power && [
    heading(t.power_now, { heading_style: "subtitle" }),
    { type: "power-sankey", ...wide },
  ];
  const today = energy.energy && [
    heading(t.energy_today, { heading_style: "subtitle" }),
    { type: "energy-distribution", link_dashboard: true, ...wide },
  ];
  if (!flows.length && !power && !today) return undefined;
  return section([heading(t.house, { icon: "mdi:home-lightning-bolt" }), ...(today || []), ...(power || []), ...flows]);
}

/** Return what a battery's device measures of the house; `owner` says whose it is. */
function houseTiles(t, battery, owner) {
  const more = owner ? { state_content: ["state", "device_name"], ...half } : half;
  return [
    ...powerInWords(t, battery.id("sensor", "grid_power"), GRID_WORDS, more),
    tile(battery.id("sensor", "pv_power"), { color: "amber", ...more }),
    tile(battery.id("sensor", "load_power"), { color: "blue", ...more }),
  ].filter(Boolean);
}

function batteryView(t, hass, battery) {
  return {
    title: battery.name,
    path: battery.path,
    type: "sections",
    max_columns: 3,
    sections: [
      controlSection(t, hass, battery),
      nowSection(t, battery),
      energySection(t, battery),
      limitsSection(t, battery),
      healthSection(t, battery),
    ].filter(Boolean),
  };
}

/** Return a power for the buttons: half of a bound of the setpoint, rounded, W. */
function handy(bound) {
  const part = Math.abs(bound) / 2;
  const step = ROUND.find((each) => part >= each);
  return step ? Math.sign(bound) * Math.floor(part / step) * step : 0;
}

/** Return the powers of the buttons, W; 0 in a direction that the battery does not go. */
function handyPowers(hass, setpoint) {
  const range = hass.states[setpoint]?.attributes ?? {};
  return { charge: handy(Math.max(0, range.max ?? 0)), discharge: handy(Math.min(0, range.min ?? 0)) };
}

const button = (name, icon, action, data, device) => ({
  type: "button",
  name,
  icon,
  tap_action: {
    action: "perform-action",
    perform_action: `${PLATFORM}.${action}`,
    target: { device_id: device },
    data,
  },
  icon_height: "24px",
  grid_options: { columns: 6, rows: 2 },
});

function controlSection(t, hass, battery) {
  const setpoint = battery.id("number", "power_setpoint");
  if (!setpoint) return undefined;
  const watts = (power) =>
    `${new Intl.NumberFormat(hass.locale?.language).format(Math.abs(power))} W`;
  const { charge, discharge } = handyPowers(hass, setpoint);
  const press = (name, icon, action, data = {}) => button(name, icon, action, data, battery.device.id);
  return section([
    heading(t.control, { icon: "mdi:tune-variant" }),
    ...controlTiles(battery),
    tile(setpoint, { features: [{ type: "numeric-input", style: "slider" }], color: "primary", ...wide }),
    charge && press(`${t.charge} ${watts(charge)}`, "mdi:battery-arrow-up", "set_power", { power: charge }),
    discharge && press(`${t.discharge} ${watts(discharge)}`, "mdi:battery-arrow-down", "set_power", { power: discharge }),
    press(t.hold, "mdi:battery-lock", "set_power", { power: 0 }),
    press(t.release, "mdi:battery-sync", "release"),
    rows([setpoint, ...battery.ids("number", ["setpoint_duration"])]),
  ]);
}

function nowSection(t, battery) {
  const power = battery.id("sensor", "battery_power");
  return section([
    heading(t.now, { icon: "mdi:flash" }),
    soc(battery),
    ...powerInWords(t, power, POWER_WORDS, half),
    ...houseTiles(t, battery),
    ...battery.of("live").map((entity) => tile(entity, half)),
    graph(battery.ids("sensor", ["battery_soc"]).map((entity) => ({ entity, name: named })), DAY_HOURS, PERCENT),
    power && heading(t.power_and_setpoint, { heading_style: "subtitle" }),
    graph(
      [power, battery.id("number", "power_setpoint")].filter(Boolean).map((entity) => ({ entity, name: named })),
      DAY_HOURS,
    ),
  ]);
}

function energySection(t, battery) {
  const charged = battery.id("sensor", "energy_charged_total");
  const discharged = battery.id("sensor", "energy_discharged_total");
  const today = (entity, name) =>
    entity && { type: "statistic", entity, name, stat_type: "change", period: { calendar: { period: "day" } }, grid_options: { columns: 6, rows: 2 } };
  const both = [charged, discharged].filter(Boolean);
  const totals = battery.ids("sensor", ["pv_energy_total", "grid_import_total", "grid_export_total"]);
  if (!both.length && !totals.length) return undefined;
  return section([
    heading(t.energy, { icon: "mdi:lightning-bolt" }),
    today(charged, t.charged_today),
    today(discharged, t.discharged_today),
    ...[...both, ...totals].map((entity) => tile(entity, half)),
    both.length > 0 && heading(t.week, { heading_style: "subtitle" }),
    both.length > 0 && {
      type: "statistics-graph",
      entities: both.map((entity) => ({ entity, name: named })),
      stat_types: ["change"],
      period: "day",
      days_to_show: 7,
      chart_type: "bar",
      ...wide,
    },
  ]);
}

function limitsSection(t, battery) {
  const limits = rows(battery.of("limits"));
  return limits ? section([heading(t.limits, { icon: "mdi:arrow-collapse-vertical" }), limits]) : undefined;
}

function healthSection(t, battery) {
  return section([
    heading(t.health, { icon: "mdi:heart-pulse" }),
    ...battery.of("health").map((entity) => tile(entity, half)),
    {
      type: "button",
      name: t.everything,
      icon: "mdi:format-list-bulleted",
      icon_height: "24px",
      tap_action: { action: "navigate", navigation_path: everythingPath(battery) },
      grid_options: { columns: 12, rows: 2 },
    },
  ]);
}

const everythingPath = (battery) => `all-${battery.device.id}`;

/** Return the page behind a battery's own, with all it has: where diagnostics are folded away. */
function everythingView(t, hass, battery) {
  const ids = (fits) => battery.entities.filter(fits).map((entity) => entity.entity_id).sort();
  const groups = [
    [t.sensors, ids((entity) => !entity.entity_category)],
    [t.settings, ids((entity) => entity.entity_category === "config")],
    [t.diagnostics, ids((entity) => entity.entity_category === "diagnostic")],
    ...partsOf(hass, battery).map((part) => [part.name, part.ids.sort()]),
  ];
  return {
    title: `${battery.name}: ${t.everything}`,
    path: everythingPath(battery),
    subview: true,
    back_path: battery.path,
    type: "sections",
    max_columns: 3,
    sections: groups
      .filter(([, listed]) => listed.length)
      .map(([title, listed]) => section([heading(title), rows(listed, { show_header_toggle: false })])),
  };
}

function emptyView(t) {
  return {
    title: t.overview,
    path: "overview",
    icon: "mdi:home-battery",
    type: "sections",
    sections: [
      section([
        heading(t.no_battery, { icon: "mdi:battery-plus-variant" }),
        {
          type: "button",
          name: t.add,
          icon: "mdi:plus",
          tap_action: { action: "navigate", navigation_path: `/config/integrations/dashboard/add?domain=${PLATFORM}` },
          ...wide,
        },
      ]),
    ],
  };
}

/** Return whether the energy dashboard has sources, and the power of the grid among them. */
async function energyOf(hass) {
  if (!hass.config.components.includes("energy")) return {};
  try {
    const { energy_sources: sources } = await hass.callWS({ type: "energy/get_prefs" });
    return { energy: sources.length > 0, power: sources.some(({ type, stat_rate }) => type === "grid" && stat_rate) };
  } catch {
    // It has not been set up yet.
    return {};
  }
}

const textsIn = (language = "en") => TEXTS[language] ?? TEXTS[language.split("-")[0]] ?? TEXTS.en;

/** Return whether the range of a setpoint has changed by so much that buttons differ. */
function rangeDiffers(before, now) {
  return Object.values(now.entities).some(({ entity_id, platform, translation_key }) =>
    platform === PLATFORM &&
    translation_key === "power_setpoint" &&
    before.states[entity_id] !== now.states[entity_id] &&
    JSON.stringify(handyPowers(before, entity_id)) !== JSON.stringify(handyPowers(now, entity_id)));
}

class HomeBatteryStrategy extends HTMLElement {
  static noEditor = true;

  /** Return the dashboard. */
  static async generate(_config, hass) {
    const t = textsIn(hass.locale?.language);
    const batteries = batteriesOf(hass);
    if (!batteries.length) return { views: [emptyView(t)] };
    return {
      views: [
        overviewOf(t, batteries, await energyOf(hass)),
        ...batteries.map((battery) => batteryView(t, hass, battery)),
        ...batteries.map((battery) => everythingView(t, hass, battery)),
      ],
    };
  }

  /** Return whether it has to be made anew: another registry, or another range of a setpoint. */
  static shouldRegenerate(_config, before, now) {
    return (
      before.entities !== now.entities ||
      before.devices !== now.devices ||
      before.locale?.language !== now.locale?.language ||
      rangeDiffers(before, now)
    );
  }
}

// The frontend puts a registry of its own in place while it starts; an element that is
// defined before "home-assistant" would be lost.
customElements.whenDefined("home-assistant").then(() => {
  customElements.define(`ll-strategy-dashboard-${PLATFORM}`, HomeBatteryStrategy);
});

window.customStrategies = window.customStrategies || [];
window.customStrategies.push({
  type: PLATFORM,
  strategyType: "dashboard",
  name: "Home Battery",
  description: textsIn(navigator.language).description,
  documentationURL: "https://github.com/homebattery/homebattery/blob/main/docs/dashboard.md",
});
