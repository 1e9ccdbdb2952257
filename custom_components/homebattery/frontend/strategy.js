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
    "gone": "This battery is not there any more.",
    "simulated": "simulated",
    "to_all": "To all batteries",
    "add": "Add a battery",
    "all_batteries": "All batteries over a day",
    "house": "House",
    "energy_today": "Energy of the house today",
    "power_now": "Power of the house now",
    "control": "Control",
    "charge": "Charge",
    "why": "Why",
    "hold": "Hold at 0 W",
    "discharge": "Discharge",
    "release": "Release (automatic)",
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
    "gone": "Diese Batterie gibt es nicht mehr.",
    "simulated": "simuliert",
    "to_all": "Zu allen Batterien",
    "add": "Batterie hinzufügen",
    "all_batteries": "Alle Batterien über einen Tag",
    "house": "Haus",
    "energy_today": "Energie des Hauses heute",
    "power_now": "Leistung des Hauses jetzt",
    "control": "Steuerung",
    "charge": "Laden",
    "why": "Warum",
    "hold": "Auf 0 W halten",
    "discharge": "Entladen",
    "release": "Freigeben (automatisch)",
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
    "gone": "Deze batterij is er niet meer.",
    "simulated": "gesimuleerd",
    "to_all": "Naar alle batterijen",
    "add": "Batterij toevoegen",
    "all_batteries": "Alle batterijen over een dag",
    "house": "Huis",
    "energy_today": "Energie van het huis vandaag",
    "power_now": "Vermogen van het huis nu",
    "control": "Regeling",
    "charge": "Laden",
    "why": "Waarom",
    "hold": "Op 0 W houden",
    "discharge": "Ontladen",
    "release": "Vrijgeven (automatisch)",
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
    "gone": "Cette batterie n'est plus là.",
    "simulated": "simulée",
    "to_all": "Vers toutes les batteries",
    "add": "Ajouter une batterie",
    "all_batteries": "Toutes les batteries sur un jour",
    "house": "Maison",
    "energy_today": "Énergie de la maison aujourd'hui",
    "power_now": "Puissance de la maison maintenant",
    "control": "Commande",
    "charge": "Charger",
    "why": "Pourquoi",
    "hold": "Maintenir à 0 W",
    "discharge": "Décharger",
    "release": "Libérer (automatique)",
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
      "battery_status", "device_status", "battery_error", "vebus_error", "fault_code",
      "battery_temperature", "device_temperature", "battery_soh", "charge_cycles",
      "min_cell_voltage", "max_cell_voltage", "min_cell_temperature", "max_cell_temperature",
      "flash_writes_today"
    ]
  }
};

const PLATFORM = "homebattery";
/** The model of the battery that is none: its name is its user's, this is not. */
const SIMULATED_MODEL = "Simulated battery";
const TAG = `ll-strategy-dashboard-${PLATFORM}`;
/** The domains of entities that are set. */
const CONTROLS = ["number", "select", "switch"];
/** The entities by which a battery differs from a meter. */
const OF_BATTERY = ["battery_soc", "battery_power", "control_status"];
/** What of Home Assistant a dashboard is made of. */
const SOURCES = ["entities", "devices", "locale", "user"];
/** Hours that the graphs of a day show. */
const DAY_HOURS = 24;
/** Power, W, below which a battery rests, and the grid is near zero. */
const REST = 20;
/** Steps of the power on the buttons, W: the coarsest that half of the range bears. */
const ROUND = [500, 100, 10];

/** Watts in one of the other units that a user may choose for a power. */
const WATTS = { mW: 1e-3, kW: 1e3, MW: 1e6, GW: 1e9, TW: 1e12, "BTU/h": 0.293 };

/** The words for a power above zero, below, and near it. */
const POWER_WORDS = {
  above: { word: "charging", icon: "mdi:battery-arrow-up", color: "green" },
  below: { word: "discharging", icon: "mdi:battery-arrow-down", color: "orange" },
  near: { word: "idle", icon: "mdi:battery", color: "grey" },
};
const GRID_WORDS = {
  above: { word: "importing", icon: "mdi:transmission-tower-export", color: "blue" },
  below: { word: "exporting", icon: "mdi:transmission-tower-import", color: "purple" },
  near: { word: "balanced", icon: "mdi:transmission-tower", color: "grey" },
};

/** A battery or a meter: its device, and its entities by domain and translation key. */
class Battery {
  constructor(hass, device, entities) {
    this.hass = hass;
    this.device = device;
    this.isSimulated = device.model === SIMULATED_MODEL;
    this.name = this.marked(device.name_by_user || device.name || device.id);
    this.entities = entities.filter((each) => !each.hidden);
    this.path = `battery-${device.id}`;
    this.isMeter = !entities.some((each) => OF_BATTERY.includes(each.translation_key));
    this._byKey = new Map(this.entities.map((each) => [`${domainOf(each)}.${each.translation_key}`, each]));
  }

  /** Return a text which says that this is simulated, if it is: in any language, once. */
  marked(text) {
    const t = textsOf(this.hass);
    const saysSo = Object.values(TEXTS).some(({ simulated }) => text.toLowerCase().includes(simulated));
    return this.isSimulated && !saysSo ? `${text} (${t.simulated})` : text;
  }

  /** Return the id of the entity of a key, or undefined where there is none. */
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

  /** Return the watts in one of the unit that its user has chosen for a power. */
  watts(entity) {
    return WATTS[this.hass.states[entity]?.attributes.unit_of_measurement] ?? 1;
  }
}

const textsIn = (language = "en") => TEXTS[language] ?? TEXTS[language.split("-")[0]] ?? TEXTS.en;
const textsOf = (hass) => textsIn(hass.locale?.language);
const domainOf = (entity) => entity.entity_id.split(".", 1)[0];

/** Return the batteries and meters, by name, each with its own entities. */
function devicesOf(hass) {
  const byDevice = new Map();
  for (const entity of Object.values(hass.entities)) {
    if (entity.platform === PLATFORM && hass.devices[entity.device_id]) {
      byDevice.set(entity.device_id, [...(byDevice.get(entity.device_id) ?? []), entity]);
    }
  }
  return [...byDevice]
    .map(([id, entities]) => new Battery(hass, hass.devices[id], entities))
    .sort((one, other) => one.name.localeCompare(other.name, hass.locale?.language));
}

/** Return whether a part of Home Assistant is there, without which its cards complain. */
const isLoaded = (hass, component) => hass.config.components.includes(component);

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

/** Return the tiles of a power: the one is seen whose word fits its sign. */
function powerInWords(t, battery, key, words, more = {}) {
  const entity = battery.id("sensor", key);
  if (!entity) return [];
  const rest = REST / battery.watts(entity);
  const above = { condition: "numeric_state", entity, above: rest };
  const below = { condition: "numeric_state", entity, below: -rest };
  const nothing = { condition: "state", entity, state: NOTHING };
  const near = { condition: "not", conditions: [{ condition: "or", conditions: [above, below, nothing] }] };
  const fitting = Object.entries({ above, below, near }).map(([sign, condition]) => {
    const { word, icon, color } = words[sign];
    return tile(entity, { name: t[word], icon, color, visibility: [condition], ...more });
  });
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
function controlTiles(t, battery) {
  const mode = battery.id("select", "control_mode");
  const status = battery.id("sensor", "control_status");
  const withReason = { state_content: ["state", "reason"], ...full };
  return [
    tile(mode, { color: "primary", ...half }),
    unless(status, ["automatic", ...TROUBLE, ...NOTHING], { color: "primary", ...withReason }),
    only(status, TROUBLE, { color: "amber", ...half }),
    status && {
      // A row, since a tile shows only the beginning of a long reason.
      type: "entities",
      entities: [{ type: "attribute", entity: status, attribute: "reason", name: t.why }],
      visibility: [
        { condition: "state", entity: status, state: TROUBLE },
        { condition: "state", entity: status, attribute: "reason", state_not: NOTHING },
      ],
      ...wide,
    },
    unless(battery.id("sensor", "setpoint_ends"), NOTHING, half),
    only(battery.id("binary_sensor", "problem"), ["on"], { color: "red", ...half }),
  ];
}

const graph = (entities, more = {}) =>
  entities.length > 0 && { type: "history-graph", hours_to_show: DAY_HOURS, entities, ...wide, ...more };

/** Return the graph of a measurement of all batteries, each by its name. */
const graphOfAll = (batteries, key, more) =>
  graph(
    batteries
      .filter((battery) => battery.id("sensor", key))
      .map((battery) => ({ entity: battery.id("sensor", key), name: battery.name })),
    more,
  );

/** Return the graph of entities of one battery. */
const graphOf = (entities, more) => graph(entities.filter(Boolean).map((entity) => ({ entity, name: named })), more);

const PERCENT = { min_y_axis: 0, max_y_axis: 100 };
const OVERVIEW = "overview";

const batteriesIn = (devices) => devices.filter((device) => !device.isMeter);

// Views

function overviewOf(t, hass, devices, energy) {
  const batteries = batteriesIn(devices);
  return {
    title: t.overview,
    path: OVERVIEW,
    icon: "mdi:home-battery",
    type: "sections",
    max_columns: 4,
    sections: [
      ...batteries.map((battery) => batterySection(t, battery)),
      isLoaded(hass, "history") && section([
        heading(t.all_batteries, { icon: "mdi:chart-line" }),
        graphOfAll(batteries, "battery_soc", PERCENT),
        graphOfAll(batteries, "battery_power"),
      ]),
      houseSection(t, devices, energy),
    ].filter(Boolean),
  };
}

function batterySection(t, battery) {
  const own = { tap_action: { action: "navigate", navigation_path: battery.path } };
  return section([
    heading(battery.name, { icon: "mdi:battery-medium", ...own }),
    soc(battery, own),
    ...powerInWords(t, battery, "battery_power", POWER_WORDS, half),
    ...controlTiles(t, battery),
  ]);
}

/**
 * Return the section of the house, or undefined where nothing is known of it.
 *
 * The house of a simulated battery is another one, and counts only where nothing is real.
 */
function houseSection(t, devices, energy) {
  // The energy dashboard, where it knows the powers, shows them once and in one picture.
  const real = devices.filter((device) => !device.isSimulated);
  const measuring = real.length ? real : devices;
  const flows = energy.power ? [] : measuring.flatMap((device) => houseTiles(t, device, true));
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

/** Return what a device measures of the house; with `isNamed` also which device it is. */
function houseTiles(t, battery, isNamed) {
  const more = isNamed ? { state_content: ["state", "device_name"], ...half } : half;
  return [
    ...powerInWords(t, battery, "grid_power", GRID_WORDS, more),
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
      controlSection(t, battery),
      nowSection(t, hass, battery),
      energySection(t, hass, battery),
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
function handyPowers(battery, setpoint) {
  const { min = 0, max = 0 } = battery.hass.states[setpoint]?.attributes ?? {};
  const watts = battery.watts(setpoint);
  return { charge: handy(Math.max(0, max * watts)), discharge: handy(Math.min(0, min * watts)) };
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

/** Return the section of control. It says which battery this is, before a button is pressed. */
function controlSection(t, battery) {
  const setpoint = battery.id("number", "power_setpoint");
  const status = [heading(battery.name, { icon: "mdi:home-battery" }), ...controlTiles(t, battery)];
  if (!setpoint) return section(status);
  const { charge, discharge } = handyPowers(battery, setpoint);
  const press = (name, icon, action, data = {}) => button(name, icon, action, data, battery.device.id);
  return section([
    ...status,
    tile(setpoint, { features: [{ type: "numeric-input", style: "slider" }], color: "primary", ...wide }),
    charge && press(`${t.charge} ${charge} W`, "mdi:battery-arrow-up", "set_power", { power: charge }),
    discharge && press(`${t.discharge} ${-discharge} W`, "mdi:battery-arrow-down", "set_power", { power: discharge }),
    press(t.hold, "mdi:battery-lock", "set_power", { power: 0 }),
    press(t.release, "mdi:battery-sync", "release"),
    rows([setpoint, ...battery.ids("number", ["setpoint_duration"])]),
  ]);
}

function nowSection(t, hass, battery) {
  const power = battery.id("sensor", "battery_power");
  const graphs = [
    graphOf([battery.id("sensor", "battery_soc")], PERCENT),
    power && heading(t.power_and_setpoint, { heading_style: "subtitle" }),
    graphOf([power, battery.id("number", "power_setpoint")]),
  ];
  return section([
    heading(t.now, { icon: "mdi:flash" }),
    soc(battery),
    ...powerInWords(t, battery, "battery_power", POWER_WORDS, half),
    ...houseTiles(t, battery),
    ...battery.of("live").map((entity) => tile(entity, half)),
    ...(isLoaded(hass, "history") ? graphs : []),
  ]);
}

function energySection(t, hass, battery) {
  const charged = battery.id("sensor", "energy_charged_total");
  const discharged = battery.id("sensor", "energy_discharged_total");
  const both = [charged, discharged].filter(Boolean);
  const totals = battery.ids("sensor", ["pv_energy_total", "grid_import_total", "grid_export_total"]);
  if (!both.length && !totals.length) return undefined;
  const statistics = both.length > 0 && isLoaded(hass, "recorder");
  const today = (entity, name) =>
    statistics && entity && { type: "statistic", entity, name, stat_type: "change", period: { calendar: { period: "day" } }, grid_options: { columns: 6, rows: 2 } };
  return section([
    heading(t.energy, { icon: "mdi:lightning-bolt" }),
    today(charged, t.charged_today),
    today(discharged, t.discharged_today),
    ...[...both, ...totals].map((entity) => tile(entity, half)),
    statistics && heading(t.week, { heading_style: "subtitle" }),
    statistics && {
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
    goTo(t.everything, "mdi:format-list-bulleted", everythingPath(battery)),
  ]);
}

const everythingPath = (battery) => `all-${battery.device.id}`;

/** Return the page behind a battery's own, with all it has: where diagnostics are folded away. */
function everythingView(t, battery) {
  const group = (title, fits) => {
    const ids = battery.entities.filter(fits).map((entity) => entity.entity_id).sort();
    return ids.length > 0 && section([heading(title), rows(ids, { show_header_toggle: false })]);
  };
  const isControl = (entity) => !entity.entity_category && CONTROLS.includes(domainOf(entity));
  return {
    title: `${battery.name}: ${t.everything}`,
    path: everythingPath(battery),
    subview: true,
    back_path: battery.path,
    type: "sections",
    max_columns: 3,
    sections: [
      group(t.control, isControl),
      group(t.sensors, (entity) => !entity.entity_category && !isControl(entity)),
      group(t.settings, (entity) => entity.entity_category === "config"),
      group(t.diagnostics, (entity) => entity.entity_category === "diagnostic"),
    ].filter(Boolean),
  };
}

/** Return a view with one message, and a button if it leads anywhere. */
const messageView = (path, text, icon, link) => ({
  path,
  type: "sections",
  sections: [section([heading(text, { icon }), link])],
});

const goTo = (name, icon, navigation_path) => ({
  type: "button",
  name,
  icon,
  icon_height: "24px",
  tap_action: { action: "navigate", navigation_path },
  grid_options: { columns: 12, rows: 2 },
});

function emptyView(t, hass) {
  const add = hass.user?.is_admin && goTo(t.add, "mdi:plus", `/config/integrations/dashboard/add?domain=${PLATFORM}`);
  const view = messageView(OVERVIEW, t.no_battery, "mdi:battery-plus-variant", add);
  return { ...view, title: t.overview, icon: "mdi:home-battery" };
}

/** Return the view in place of that of a battery which was removed while it may be open. */
const goneView = (t, path) => ({
  ...messageView(path, t.gone, "mdi:battery-off-outline", goTo(t.to_all, "mdi:home-battery", OVERVIEW)),
  title: t.gone,
  subview: true,
});

function viewsOf(t, hass, energy) {
  const devices = devicesOf(hass);
  const batteries = batteriesIn(devices);
  if (!batteries.length) return [emptyView(t, hass)];
  return [
    overviewOf(t, hass, devices, energy),
    ...batteries.map((battery) => batteryView(t, hass, battery)),
    ...batteries.map((battery) => everythingView(t, battery)),
  ];
}

/**
 * The paths of the views in their order, since the page was loaded.
 *
 * The frontend goes on with the view of the same number: without this, it would show
 * another battery where one has come or gone, and buttons would be for that. It is not
 * kept by configuration, which is another object after each loss of the connection.
 */
let order = [];

/** Return views in their order, new ones behind. */
function inOrder(t, views) {
  const byPath = new Map(views.map((view) => [view.path, view]));
  return [
    ...order.map((path) => byPath.get(path) ?? goneView(t, path)),
    ...views.filter(({ path }) => !order.includes(path)),
  ];
}

/** Return whether the energy dashboard has sources, and the power of the grid among them. */
async function energyOf(hass) {
  if (!isLoaded(hass, "energy")) return {};
  try {
    const { energy_sources: sources } = await hass.callWS({ type: "energy/get_prefs" });
    return { energy: sources.length > 0, power: sources.some(({ type, stat_rate }) => type === "grid" && stat_rate) };
  } catch {
    // It has not been set up yet.
    return {};
  }
}

/** Return the views as they are now. */
function viewsNow(hass, energy) {
  const t = textsOf(hass);
  return inOrder(t, viewsOf(t, hass, energy));
}

/** Return the entities whose range or unit matters. */
const powersOf = (hass) =>
  devicesOf(hass).flatMap((device) => [
    ...device.ids("number", ["power_setpoint"]),
    ...device.ids("sensor", ["battery_power", "grid_power"]),
  ]);

/** What was made last of a configuration: its views, and what else these depend on. */
const made = new WeakMap();

class HomeBatteryStrategy extends HTMLElement {
  static noEditor = true;

  /** Return the dashboard. */
  static async generate(config, hass) {
    const energy = await energyOf(hass);
    const views = viewsNow(hass, energy);
    order = views.map(({ path }) => path);
    made.set(config, { energy, views, powers: powersOf(hass) });
    return { views };
  }

  /**
   * Return whether it has to be made anew, which interrupts whoever moves a slider or types.
   *
   * The frontend asks with each change of a state, many times a second. It keeps an object
   * in which nothing has changed.
   */
  static shouldRegenerate(config, before, now) {
    const last = made.get(config);
    const isSame =
      SOURCES.every((source) => before[source] === now[source]) &&
      (last?.powers ?? []).every((id) => before.states[id]?.attributes === now.states[id]?.attributes);
    if (isSame) return false;
    return !last || JSON.stringify(viewsNow(now, last.energy)) !== JSON.stringify(last.views);
  }
}

if (!window.customStrategies?.some(({ type }) => type === PLATFORM)) {
  // The frontend puts a registry of its own in place while it starts; an element that is
  // defined before "home-assistant" would be lost.
  customElements.whenDefined("home-assistant").then(() => customElements.define(TAG, HomeBatteryStrategy));

  window.customStrategies = window.customStrategies || [];
  window.customStrategies.push({
    type: PLATFORM,
    strategyType: "dashboard",
    name: "Home Battery",
    description: textsIn(navigator.language).description,
    documentationURL: "https://github.com/homebattery/homebattery/blob/main/docs/dashboard.md",
  });
}
